"""Envelopes to record values."""

from collections.abc import Mapping
from typing import Any, NamedTuple

from schemas.codec import jsontext
from schemas.envelope import Request
from schemas.formats import WireFormat
from schemas.headers import CONTENT_TYPE
from schemas.response import ResponseFields

_JSON_HEADERS = {CONTENT_TYPE: "application/json"}


class Encoded(NamedTuple):
    """A record value and the headers that say how to read it, to be set with `headers.with_headers`."""

    value: bytes
    headers: Mapping[str, str]


def encode_response(fields: ResponseFields, wire: WireFormat = WireFormat.JSON) -> Encoded:
    """Write a response; fields that are None are left out."""
    return Encoded(jsontext.dumps(_without_none(fields)), _JSON_HEADERS)


def encode_request(request: Request, wire: WireFormat = WireFormat.JSON) -> Encoded:
    """Write a request with the fields that were set, unknown ones too."""
    return Encoded(jsontext.dumps(request.model_dump(exclude_unset=True)), _JSON_HEADERS)


def _without_none(fields: Mapping[str, Any]) -> dict[str, Any]:
    return {
        name: _without_none(value) if type(value) is dict else value
        for name, value in fields.items()
        if value is not None
    }
