"""Avro binary to the fields of an envelope and back.

Values are read with the schema they were written with; the typed models then do the resolution.
"""

import base64
import datetime as dt
import decimal
import io
import math
import uuid
from collections.abc import Mapping
from typing import Any, cast

import fastavro

from schemas.avsc import EXTRA, PARTS
from schemas.codec import jsontext
from schemas.codec.skim import MAX_ITEMS, too_many_items
from schemas.errors import DecodeError
from schemas.registry import AvroSchema, bundled

_SKIM_ABOVE_BYTES = 64 * 1024  # what is shorter can't hold enough items to matter


def read(data: bytes, start: int, schema: AvroSchema, wire: str) -> dict[str, Any]:
    """The datum that fills `data` from `start` to its end, in JSON types. Raises `DecodeError` with the byte."""
    if len(data) > _SKIM_ABOVE_BYTES and too_many_items(data, start, schema.parsed):
        raise DecodeError(f"more than {MAX_ITEMS} items in arrays and maps", wire=wire)
    stream = io.BytesIO(data)
    stream.seek(start)
    try:
        datum = cast("dict[str, Any]", fastavro.schemaless_reader(stream, schema.parsed, None))
    except _DAMAGE as error:
        failure = DecodeError(_explain(error, schema), wire=wire, position=min(stream.tell(), len(data)))
    else:
        if stream.tell() == len(data):
            return {name: _plain(value, name) for name, value in datum.items()}
        left = f"{len(data) - stream.tell()} bytes are left over after a {schema.name}"
        failure = DecodeError(left, wire=wire, position=stream.tell())
    raise failure


def unpack(fields: dict[str, Any], record: Mapping[str, Any], wire: str, path: str = "") -> dict[str, Any]:
    """Put what travelled as JSON text back in its place. `record` is our own schema, whoever wrote the value."""
    known = dict(fields)
    extra = _object_or_none(known.get(EXTRA), wire)
    if extra is not None or known.get(EXTRA, "") is None:
        del known[EXTRA]
    for field in record["fields"]:
        name = field["name"]
        if name in known and name != EXTRA:
            known[name] = _unpack_field(known[name], field, wire, f"{path}{name}")
            if name.endswith(PARTS):
                _put_parts(known, name)
    return {**extra, **known} if extra else known


def write(fields: Mapping[str, Any], name: str) -> bytes:
    """The fields as a datum of our own schema of this name. Raises `ValueError` for fields that are not its."""
    schema = bundled(name)
    try:
        return _dump(_pack(fields, schema.definition), schema)
    except (ValueError, TypeError, OverflowError):
        mended = jsontext.mended(fields)
    try:
        return _dump(_pack(mended, schema.definition), schema)
    except (ValueError, TypeError):
        pass  # fastavro's own text shows the values
    raise ValueError(f"these are not the fields of a {name}")


# What fastavro raises on bytes that were not written with the schema; found by fuzzing, held by a test.
_DAMAGE = (EOFError, ValueError, LookupError, TypeError, ArithmeticError, MemoryError, AttributeError)


def _explain(error: Exception, schema: AvroSchema) -> str:
    if isinstance(error, EOFError):
        return f"truncated, or not a {schema.name}"
    if isinstance(error, UnicodeDecodeError):
        return f"invalid UTF-8 in a string of a {schema.name}: {error.reason}"
    return f"not a {schema.name}"


def _plain(value: Any, name: str = "") -> Any:
    """Avro's richer values in the types that JSON has."""
    match value:
        case dict():
            return {key: _plain(item) for key, item in value.items()}
        case list():
            return [_plain(item) for item in value]
        case dt.datetime() if name == "timestamp":
            return value.timestamp()  # the envelope's own: epoch seconds
        case dt.datetime() | dt.date() | dt.time():
            return value.isoformat()
        case float() if not math.isfinite(value):
            return None  # JSON has no such numbers
        case bytes():
            return base64.b64encode(value).decode()
        case decimal.Decimal() | uuid.UUID():
            return str(value)
        case _:
            return value


def _unpack_field(value: Any, field: Mapping[str, Any], wire: str, path: str) -> Any:
    if field.get("encoding") == "json":
        return _unpack_json(value, wire, path)
    record = _record_of(field["type"])
    if record is None:
        return value
    if isinstance(value, dict):
        return unpack(value, record, wire, f"{path}.")
    if isinstance(value, list):
        return [
            unpack(item, record, wire, f"{path}.{index}.") if isinstance(item, dict) else item
            for index, item in enumerate(value)
        ]
    return value


def _unpack_json(value: Any, wire: str, path: str) -> Any:
    if not isinstance(value, str):
        return value  # another schema than ours may have a record or a map here
    try:
        return jsontext.loads(value.encode(), wire)
    except DecodeError as error:
        failure = DecodeError(error.reason, wire=wire, path=path)
    raise failure


def _object_or_none(value: Any, wire: str) -> dict[str, Any] | None:
    """The unknown fields, or None: a field called `extra` in somebody else's schema need not be ours."""
    if not isinstance(value, str):
        return None
    try:
        return jsontext.load_object(value.encode(), wire)
    except DecodeError:
        return None


def _put_parts(fields: dict[str, Any], name: str) -> None:
    parts = fields.pop(name)
    if parts is not None:
        fields[name.removesuffix(PARTS)] = parts


def _record_of(kind: Any) -> Mapping[str, Any] | None:
    if isinstance(kind, list):
        return next((found for branch in kind if (found := _record_of(branch))), None)
    if isinstance(kind, dict):
        return kind if kind["type"] == "record" else _record_of(kind.get("items"))
    return None


def _dump(datum: dict[str, Any], schema: AvroSchema) -> bytes:
    stream = io.BytesIO()
    fastavro.schemaless_writer(stream, schema.parsed, datum)
    return stream.getvalue()


def _pack(fields: Mapping[str, Any], record: Mapping[str, Any]) -> dict[str, Any]:
    rest = dict(fields)
    datum: dict[str, Any] = {}
    for field in record["fields"]:
        name = field["name"]
        if name == EXTRA:
            datum[name] = jsontext.dumps(rest).decode() if rest else None
        elif not name.endswith(PARTS) and name in rest:
            _pack_field(rest.pop(name), field, datum)
    return datum


def _pack_field(value: Any, field: Mapping[str, Any], datum: dict[str, Any]) -> None:
    name = field["name"]
    record = _record_of(field["type"])
    if field.get("encoding") == "json":
        datum[name] = jsontext.dumps(value).decode()
    elif record is None:
        is_list = isinstance(value, list)
        datum[name + PARTS if is_list else name] = jsontext.dumps(value).decode() if is_list else value
    elif isinstance(value, list):
        datum[name] = [_pack(item, record) for item in value]
    else:
        datum[name] = None if value is None else _pack(value, record)
