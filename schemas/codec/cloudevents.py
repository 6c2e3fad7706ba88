"""CloudEvents 1.0 over Kafka, in binary mode (`ce_*` headers) and structured mode (one JSON object), as envelopes.

`id` is read as `message_id`, `source` as `source`, `time` as `timestamp`, the data as `payload`; the other attributes
are kept under `cloudevent`. A response goes the same way with its whole envelope as the data, so that whoever reads
the values of `model_responses` as JSON finds the same fields in all of them.
"""

import base64
import binascii
import datetime as dt
from collections.abc import Mapping
from typing import Any

from schemas.codec import jsontext
from schemas.errors import DecodeError
from schemas.formats import WireFormat
from schemas.headers import CONTENT_TYPE, Headers

PREFIX = "ce_"
SPEC_VERSION = "ce_specversion"
STRUCTURED = "application/cloudevents+json"
KEPT = "cloudevent"
"""The field of a request that holds the attributes an envelope has no field for."""

_CARRIED = ("id", "source", "time")
_JSON = "application/json"


def envelope(
    attributes: Mapping[str, Any], data: Any, wire: WireFormat, received_ms: int | None
) -> dict[str, Any]:
    """The fields of a request. Without `time` the record's own timestamp counts; required attributes are checked later."""
    fields = {"message_id": attributes.get("id"), "source": attributes.get("source")}
    fields = {name: value for name, value in fields.items() if value is not None}
    when = attributes.get("time")
    if when is not None:
        fields["timestamp"] = _epoch_seconds(when, wire)
    elif received_ms is not None:
        fields["timestamp"] = received_ms / 1000
    fields["payload"] = {"text": data} if isinstance(data, str) else data
    fields[KEPT] = {name: value for name, value in attributes.items() if name not in _CARRIED}
    return fields


def read_structured(value: bytes) -> tuple[dict[str, Any], Any]:
    """The attributes and the data of a structured event."""
    wire = WireFormat.CLOUDEVENTS_STRUCTURED
    attributes = jsontext.load_object(value, wire)
    _check_version(attributes.get("specversion"), wire)
    encoded = attributes.pop("data_base64", None)
    data = attributes.pop("data", None)
    if encoded is None:
        return attributes, data
    if not isinstance(encoded, str):
        raise DecodeError("a string is needed", wire=wire, path="data_base64")
    try:
        raw = base64.b64decode(encoded, validate=True)
    except (binascii.Error, ValueError):
        failure = DecodeError("not base64", wire=wire, path="data_base64")
    else:
        return attributes, read_data(raw, str(attributes.get("datacontenttype") or _JSON), wire)
    raise failure


def read_attributes(headers: Headers) -> dict[str, str]:
    """The attributes of an event in binary mode."""
    wire = WireFormat.CLOUDEVENTS_BINARY
    attributes = {}
    for name, value in headers:
        if name.startswith(PREFIX) and value is not None:
            try:
                attributes[name.removeprefix(PREFIX)] = value.decode()
            except UnicodeDecodeError as damage:
                raise DecodeError("invalid UTF-8", wire=wire, path=name, position=damage.start) from None
    _check_version(attributes.get("specversion"), wire)
    return attributes


def read_data(value: bytes, content_type: str, wire: WireFormat) -> Any:
    """The data of an event, by its content type: JSON or text."""
    kind = content_type.partition(";")[0].strip().lower()
    if kind in {_JSON, "text/json"} or kind.endswith("+json"):
        return jsontext.loads(value, wire)
    if not kind.startswith("text/"):
        raise DecodeError(
            "data of this content type is not read; JSON, text and framed Avro are", wire=wire, path="data"
        )
    try:
        return value.decode()
    except UnicodeDecodeError as damage:
        failure = DecodeError("invalid UTF-8", wire=wire, path="data", position=damage.start)
    raise failure


def binary_headers(fields: Mapping[str, Any], kind: str) -> dict[str, str]:
    """The headers of an event in binary mode whose value is the envelope as JSON."""
    attributes = {PREFIX + name: value for name, value in _attributes(fields, kind).items()}
    return {**attributes, CONTENT_TYPE: _JSON}


def structured(fields: Mapping[str, Any], kind: str) -> dict[str, Any]:
    """The event whose data is the envelope."""
    return {**_attributes(fields, kind), "datacontenttype": _JSON, "data": fields}


def _attributes(fields: Mapping[str, Any], kind: str) -> dict[str, str]:
    when = dt.datetime.fromtimestamp(fields["timestamp"], dt.UTC)
    return {
        "specversion": "1.0",
        "id": fields["message_id"],
        "source": fields["source"],
        "type": f"relayfleet.{kind}.v1",
        "time": when.isoformat().replace("+00:00", "Z"),
    }


def _check_version(version: Any, wire: WireFormat) -> None:
    if not isinstance(version, str) or version.partition(".")[0] != "1":
        raise DecodeError("only CloudEvents 1.x is read", wire=wire, path="specversion")


def _epoch_seconds(when: Any, wire: WireFormat) -> float:
    try:
        moment = dt.datetime.fromisoformat(when.upper())
        if moment.tzinfo is not None:
            return moment.timestamp()
    except (AttributeError, ValueError, OverflowError):
        pass  # said below, without the text of the attribute
    raise DecodeError("not an RFC 3339 time with its offset", wire=wire, path="time")
