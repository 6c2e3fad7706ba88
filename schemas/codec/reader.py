"""Record values to typed envelopes: which format a value is in, and its fields.

A format is told by, in this order: the registry's header `__value_schema_id` (Avro), `content-type:
application/cloudevents+json`, the header `ce_specversion`, a first byte 0 or 1 (the registry's framing; no JSON text
and no envelope in plain Avro starts so), `content-type: avro/binary` or `application/avro`. All else is JSON.
"""

import uuid
from typing import Any, NamedTuple

from schemas.chunk import Chunk
from schemas.codec import avro, cloudevents, jsontext, models
from schemas.codec.cloudevents import SPEC_VERSION, STRUCTURED
from schemas.envelope import Request
from schemas.errors import DecodeError
from schemas.events import LogEvent
from schemas.formats import WireFormat
from schemas.headers import CONTENT_TYPE, Headers
from schemas.registry import AvroSchema, BundledSchemas, SchemaSource, bundled
from schemas.response import Response

MAX_VALUE_BYTES = 16 * 1024 * 1024
"""What is longer is not read: a hostile value takes up to a hundred times its size as objects."""

SCHEMA_ID = "__value_schema_id"
BUNDLED = BundledSchemas()

_AVRO_TYPES = frozenset({"avro/binary", "application/avro", "application/vnd.apache.avro+binary"})
_SIGNS = {
    CONTENT_TYPE: CONTENT_TYPE,
    "Content-Type": CONTENT_TYPE,
    SPEC_VERSION: SPEC_VERSION,
    SCHEMA_ID: SCHEMA_ID,
}
_ID_FRAME, _GUID_FRAME = 0, 1
_ID_END, _GUID_END = 5, 17


class DecodedRequest(NamedTuple):
    """A request and the format it came in."""

    request: Request
    format: WireFormat


class _Found(NamedTuple):
    """The fields of a value; of an event in CloudEvents its attributes too."""

    wire: WireFormat
    fields: Any
    attributes: dict[str, Any] | None = None


def decode_request(
    value: bytes | None,
    headers: Headers = (),
    schemas: SchemaSource = BUNDLED,
    *,
    received_ms: int | None = None,
) -> DecodedRequest:
    """Read a request envelope. Raises `DecodeError` that says what is wrong, and where.

    `received_ms` (epoch milliseconds, the record's own timestamp) stands in where a CloudEvent has no `time`.
    """
    request, wire, _ = read_request(value, headers, received_ms, schemas)
    return DecodedRequest(request, wire)


def read_request(
    value: bytes | None, headers: Headers, received_ms: int | None, schemas: SchemaSource = BUNDLED
) -> tuple[Request, WireFormat, Any]:
    """What `decode_request` does; gives the payload in JSON types too, as it was written."""
    found = _find(value, headers, schemas, "request")
    if found.attributes is not None:
        fields = cloudevents.envelope(found.attributes, found.fields, found.wire, received_ms)
    else:
        fields = found.fields
    return models.validate(Request, fields, found.wire), found.wire, fields["payload"]


def decode_response(value: bytes | None, headers: Headers = (), schemas: SchemaSource = BUNDLED) -> Response:
    """Read a response envelope. Raises `DecodeError`."""
    found = _find(value, headers, schemas, "response")
    return models.validate(Response, found.fields, found.wire)


def decode_event(value: bytes | None, headers: Headers = (), schemas: SchemaSource = BUNDLED) -> LogEvent:
    """Read an event of `fleet_logs`. Raises `DecodeError`."""
    found = _find(value, headers, schemas, "log_event")
    return models.validate(LogEvent, found.fields, found.wire)


def decode_chunk(value: bytes | None, headers: Headers = (), schemas: SchemaSource = BUNDLED) -> Chunk:
    """Read a piece of a streamed answer. Raises `DecodeError`."""
    found = _find(value, headers, schemas, "chunk")
    return models.validate(Chunk, found.fields, found.wire)


def decode_value(
    value: bytes | None, headers: Headers = (), schemas: SchemaSource = BUNDLED
) -> tuple[WireFormat, Any]:
    """What a value holds, in JSON types, be it an envelope or not. Raises `DecodeError`.

    A CloudEvent comes as the envelope it stands for.
    """
    try:
        found = _find(value, headers, schemas, "request")
        if found.attributes is None:
            return found.wire, found.fields
        return found.wire, cloudevents.envelope(found.attributes, found.fields, found.wire, None)
    except DecodeError:
        if value is None or len(value) > MAX_VALUE_BYTES or value[:1] in _FRAMES:
            raise
        return WireFormat.JSON, jsontext.loads(
            value
        )  # an array, say, or what is not what its headers call it


def _find(value: bytes | None, headers: Headers, schemas: SchemaSource, name: str) -> _Found:
    if value is None:
        raise DecodeError("a tombstone: the value is null where an envelope is needed")
    if len(value) > MAX_VALUE_BYTES:
        raise DecodeError(f"{len(value)} bytes are too many: at most {MAX_VALUE_BYTES} are read")
    signs: dict[str, bytes] = {}
    for header, text in headers:
        if header in _SIGNS and text is not None:
            signs[_SIGNS[header]] = text
    if not signs and value[:1] not in _FRAMES:
        return _Found(WireFormat.JSON, jsontext.load_object(value))
    return _find_by_signs(value, headers, schemas, name, signs)


_FRAMES = (b"\x00", b"\x01")


def _find_by_signs(
    value: bytes, headers: Headers, schemas: SchemaSource, name: str, signs: dict[str, bytes]
) -> _Found:
    kind = _media_type(signs.get(CONTENT_TYPE, b""))
    framed = SCHEMA_ID in signs or (value[:1] in _FRAMES and not _is_text(kind))
    if kind.startswith("application/cloudevents"):
        return _structured(value, kind)
    if SPEC_VERSION in signs:
        return _binary(value, headers, schemas, signs, framed)
    if framed:
        wire = WireFormat.AVRO_REGISTRY
        return _Found(wire, _unpacked(_framed(value, schemas, signs, wire), name, wire))
    if kind in _AVRO_TYPES:
        wire = WireFormat.AVRO
        return _Found(wire, _unpacked(avro.read(value, 0, bundled(name), wire), name, wire))
    return _Found(WireFormat.JSON, jsontext.load_object(value))


def _structured(value: bytes, kind: str) -> _Found:
    wire = WireFormat.CLOUDEVENTS_STRUCTURED
    if kind != STRUCTURED:
        raise DecodeError(
            f"only {STRUCTURED} is read of the structured formats", wire=wire, path=CONTENT_TYPE
        )
    attributes, data = cloudevents.read_structured(value)
    return _Found(wire, data, attributes)


def _binary(
    value: bytes, headers: Headers, schemas: SchemaSource, signs: dict[str, bytes], framed: bool
) -> _Found:
    wire = WireFormat.CLOUDEVENTS_BINARY
    attributes: dict[str, Any] = dict(cloudevents.read_attributes(headers))
    if framed:
        data: Any = avro.unpack(_framed(value, schemas, signs, wire), _PAYLOAD, wire, "payload.")
    else:
        kind = _media_type(signs.get(CONTENT_TYPE, b"")) or "application/json"
        data = cloudevents.read_data(value, kind, wire)
    return _Found(wire, data, attributes)


def _unpacked(datum: dict[str, Any], name: str, wire: WireFormat) -> dict[str, Any]:
    return avro.unpack(datum, bundled(name).definition, wire)


_PAYLOAD = next(
    field["type"] for field in bundled("request").definition["fields"] if field["name"] == "payload"
)


def _framed(value: bytes, schemas: SchemaSource, signs: dict[str, bytes], wire: WireFormat) -> dict[str, Any]:
    header = signs.get(SCHEMA_ID)
    if header is None:
        schema, start = _schema(value, schemas, wire, None)
        return avro.read(value, start, schema, wire)
    schema, end = _schema(header, schemas, wire, SCHEMA_ID)
    if end != len(header):
        raise DecodeError(f"{len(header)} bytes where {end} are needed", wire=wire, path=SCHEMA_ID)
    return avro.read(value, 0, schema, wire)


def _schema(
    frame: bytes, schemas: SchemaSource, wire: WireFormat, path: str | None
) -> tuple[AvroSchema, int]:
    """The schema that a frame names, and where the frame ends."""
    end = {_ID_FRAME: _ID_END, _GUID_FRAME: _GUID_END}.get(frame[0] if frame else -1)
    if end is None:
        raise DecodeError("starts with neither 0 (an id) nor 1 (a GUID)", wire=wire, path=path)
    if len(frame) < end:
        raise DecodeError(
            f"truncated: a schema reference takes {end} bytes, here are {len(frame)}", wire=wire, path=path
        )
    if end == _ID_END:
        number = int.from_bytes(frame[1:end], "big")
        schema, said = schemas.by_id(number), f"id {number}"
    else:
        guid = uuid.UUID(bytes=frame[1:end])
        schema, said = schemas.by_guid(guid), f"GUID {guid}"
    if schema is None:
        raise DecodeError(f"unknown schema {said}", wire=wire, path=path)
    return schema, end


def _media_type(content_type: bytes) -> str:
    return content_type.decode("utf-8", "replace").partition(";")[0].strip().lower()


def _is_text(kind: str) -> bool:
    return kind.startswith("text/") or kind == "application/json" or kind.endswith("+json")
