"""Record values to typed envelopes."""

from typing import Any, NamedTuple

from schemas.codec import jsontext, models
from schemas.envelope import Request
from schemas.errors import DecodeError
from schemas.events import LogEvent
from schemas.formats import WireFormat
from schemas.headers import Headers
from schemas.response import Response


class DecodedRequest(NamedTuple):
    """A request and the format it came in."""

    request: Request
    format: WireFormat


def decode_request(value: bytes | None, headers: Headers = ()) -> DecodedRequest:
    """Read a request envelope. Raises `DecodeError` that says what is wrong, and where."""
    wire, fields = _read(value, headers)
    return DecodedRequest(models.validate(Request, fields, wire), wire)


def decode_response(value: bytes | None, headers: Headers = ()) -> Response:
    """Read a response envelope. Raises `DecodeError`."""
    wire, fields = _read(value, headers)
    return models.validate(Response, fields, wire)


def decode_event(value: bytes | None, headers: Headers = ()) -> LogEvent:
    """Read an event of `fleet_logs`. Raises `DecodeError`."""
    wire, fields = _read(value, headers)
    return models.validate(LogEvent, fields, wire)


def _read(value: bytes | None, headers: Headers) -> tuple[WireFormat, dict[str, Any]]:
    if value is None:
        raise DecodeError("a tombstone: the value is null, an envelope is needed")
    return WireFormat.JSON, jsontext.load_object(value)
