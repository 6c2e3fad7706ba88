"""Record values to typed envelopes and back.

Readers raise `DecodeError` and nothing else, whatever the bytes and headers; writers take valid fields and never fail.
"""

from schemas.codec.reader import (
    DecodedRequest,
    decode_chunk,
    decode_event,
    decode_request,
    decode_response,
    decode_value,
    read_request,
)
from schemas.codec.writer import Encoded, encode_chunk, encode_event, encode_request, encode_response

__all__ = [
    "DecodedRequest",
    "Encoded",
    "decode_chunk",
    "decode_event",
    "decode_request",
    "decode_response",
    "decode_value",
    "encode_chunk",
    "encode_event",
    "encode_request",
    "encode_response",
    "read_request",
]
