"""Envelopes to record values."""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, NamedTuple

from schemas.chunk import ChunkFields
from schemas.codec import avro, cloudevents, jsontext
from schemas.codec.reader import BUNDLED
from schemas.envelope import Request
from schemas.events import LogEvent
from schemas.formats import WireFormat
from schemas.headers import CONTENT_TYPE
from schemas.registry import SchemaSource
from schemas.response import ResponseFields

_JSON_HEADERS = MappingProxyType({CONTENT_TYPE: "application/json"})
_AVRO_HEADERS = MappingProxyType({CONTENT_TYPE: "avro/binary"})
_STRUCTURED_HEADERS = MappingProxyType({CONTENT_TYPE: cloudevents.STRUCTURED})


class Encoded(NamedTuple):
    """A record value and the headers that say how to read it, to be set with `headers.with_headers`."""

    value: bytes
    headers: Mapping[str, str]


def encode_response(
    fields: ResponseFields, wire: WireFormat = WireFormat.JSON, schemas: SchemaSource = BUNDLED
) -> Encoded:
    """Write a response."""
    if wire is WireFormat.JSON:
        return Encoded(jsontext.dumps(fields), _JSON_HEADERS)
    if wire is WireFormat.CLOUDEVENTS_BINARY:
        return Encoded(jsontext.dumps(fields), cloudevents.binary_headers(fields, "response"))
    if wire is WireFormat.CLOUDEVENTS_STRUCTURED:
        return Encoded(jsontext.dumps(cloudevents.structured(fields, "response")), _STRUCTURED_HEADERS)
    return _encode(fields, "response", wire, schemas)


def encode_request(
    request: Request, wire: WireFormat = WireFormat.JSON, schemas: SchemaSource = BUNDLED
) -> Encoded:
    """Write a request as JSON or Avro, with the fields that were set, unknown ones too.

    Raises `ValueError` for CloudEvents: these are read only.
    """
    return _encode(request.model_dump(exclude_unset=True), "request", wire, schemas)


def encode_event(
    event: LogEvent, wire: WireFormat = WireFormat.JSON, schemas: SchemaSource = BUNDLED
) -> Encoded:
    """Write an event of `fleet_logs` as JSON or Avro. Raises `ValueError` for CloudEvents."""
    return _encode(event.model_dump_wire(), "log_event", wire, schemas)


def encode_chunk(
    fields: ChunkFields, wire: WireFormat = WireFormat.JSON, schemas: SchemaSource = BUNDLED
) -> Encoded:
    """Write a piece of a streamed answer; fields that are None are left out. To CloudEvents the answer is JSON."""
    if wire in (WireFormat.CLOUDEVENTS_BINARY, WireFormat.CLOUDEVENTS_STRUCTURED):
        wire = WireFormat.JSON
    return _encode(
        {name: value for name, value in fields.items() if value is not None}, "chunk", wire, schemas
    )


def _encode(fields: Mapping[str, Any], name: str, wire: WireFormat, schemas: SchemaSource) -> Encoded:
    if wire is WireFormat.JSON:
        return Encoded(jsontext.dumps(fields), _JSON_HEADERS)
    if wire is WireFormat.AVRO:
        return Encoded(avro.write(fields, name), _AVRO_HEADERS)
    if wire is WireFormat.AVRO_REGISTRY:
        frame = b"\x00" + schemas.id_of(name).to_bytes(4, "big")
        return Encoded(frame + avro.write(fields, name), _AVRO_HEADERS)
    raise ValueError(f"a {name} is not written as {wire.value}: JSON and Avro are")
