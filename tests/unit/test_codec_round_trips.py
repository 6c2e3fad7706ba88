"""Every value survives every format, and nothing but `DecodeError` comes out of the readers."""

from collections.abc import Callable
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from schemas.chunk import Chunk
from schemas.codec import (
    Encoded,
    decode_chunk,
    decode_event,
    decode_request,
    decode_response,
    encode_chunk,
    encode_event,
    encode_request,
    encode_response,
)
from schemas.codec.reader import BUNDLED
from schemas.envelope import Request
from schemas.errors import DecodeError
from schemas.events import LogEvent
from schemas.formats import WireFormat
from schemas.headers import Headers, with_headers
from schemas.registry import guid_of
from schemas.response import Response
from tests.strategies import CHUNK, EVENT, HEADERS, REQUEST, RESPONSE

BINARY_AND_TEXT = st.sampled_from([WireFormat.JSON, WireFormat.AVRO, WireFormat.AVRO_REGISTRY])
READERS: list[Callable[[bytes | None, Headers], Any]] = [
    decode_request,
    decode_response,
    decode_event,
    decode_chunk,
]


def record(encoded: Encoded) -> tuple[bytes, Headers]:
    """Value and headers as a reader gets them."""
    return encoded.value, with_headers((), encoded.headers)


@given(REQUEST, BINARY_AND_TEXT)
def test_every_request_survives_every_format_with_its_unknown_fields(
    fields: dict[str, Any], wire: WireFormat
) -> None:
    request = Request.model_validate(fields)
    decoded = decode_request(*record(encode_request(request, wire)))
    assert decoded == (request, wire)
    assert decoded.request.__pydantic_extra__ == request.__pydantic_extra__
    assert decoded.request.payload.__pydantic_extra__ == request.payload.__pydantic_extra__


@given(RESPONSE, st.sampled_from(WireFormat))
def test_every_response_survives_every_format(fields: Any, wire: WireFormat) -> None:
    assert decode_response(*record(encode_response(fields, wire))) == Response.model_validate(fields)


@given(EVENT, BINARY_AND_TEXT)
def test_every_log_event_survives_every_format(fields: dict[str, Any], wire: WireFormat) -> None:
    event = LogEvent.model_validate(fields)
    assert decode_event(*record(encode_event(event, wire))) == event


@given(CHUNK, BINARY_AND_TEXT)
def test_every_chunk_survives_every_format(fields: Any, wire: WireFormat) -> None:
    assert decode_chunk(*record(encode_chunk(fields, wire))) == Chunk.model_validate(fields)


@given(CHUNK, st.sampled_from([WireFormat.CLOUDEVENTS_BINARY, WireFormat.CLOUDEVENTS_STRUCTURED]))
def test_chunks_for_a_producer_of_cloudevents_are_json(fields: Any, wire: WireFormat) -> None:
    assert encode_chunk(fields, wire) == encode_chunk(fields, WireFormat.JSON)


@given(REQUEST)
def test_a_guid_names_the_schema_in_the_frame_or_in_a_header(fields: dict[str, Any]) -> None:
    request = Request.model_validate(fields)
    value = encode_request(request, WireFormat.AVRO).value
    reference = b"\x01" + guid_of("request").bytes
    expected = (request, WireFormat.AVRO_REGISTRY)
    assert decode_request(reference + value) == expected
    assert decode_request(value, (("__value_schema_id", reference),)) == expected
    number = b"\x00" + BUNDLED.id_of("request").to_bytes(4, "big")
    assert decode_request(value, (("__value_schema_id", number),)) == expected


@given(value=st.none() | st.binary(max_size=60), headers=HEADERS)
def test_arbitrary_bytes_and_headers_raise_nothing_but_decode_errors(
    value: bytes | None, headers: Headers
) -> None:
    for read in READERS:
        _read_or_refuse(read, value, headers)


@given(
    fields=REQUEST,
    wire=BINARY_AND_TEXT,
    cuts=st.lists(st.tuples(st.integers(0, 200), st.integers(0, 2), st.binary(max_size=3)), max_size=4),
)
def test_damaged_envelopes_raise_nothing_but_decode_errors(
    fields: dict[str, Any], wire: WireFormat, cuts: list[tuple[int, int, bytes]]
) -> None:
    value, headers = record(encode_request(Request.model_validate(fields), wire))
    for start, length, instead in cuts:
        value = value[:start] + instead + value[start + length :]
    for read in READERS:
        _read_or_refuse(read, value, headers)


def _read_or_refuse(
    read: Callable[[bytes | None, Headers], Any], value: bytes | None, headers: Headers
) -> None:
    refusal = None
    try:
        read(value, headers)
    except DecodeError as error:
        refusal = error
    if refusal is not None:
        assert refusal.reason
        assert refusal.__cause__ is None  # pydantic's own error would show the value
        assert refusal.__context__ is None or refusal.__suppress_context__
