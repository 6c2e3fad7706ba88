"""Avro schemas that agree with the typed models.

Avro has no open objects, so what is open travels as JSON text, in fields marked `"encoding": "json"`:
`extra` holds the fields that a record does not know, free-form fields hold their object, and `<field>_parts` holds what
a string field may be instead of a string.
"""

import types
from enum import StrEnum
from typing import Any, Literal, TypeAlias, Union, get_args, get_origin

from pydantic import BaseModel
from pydantic.fields import FieldInfo

from schemas.chunk import Chunk
from schemas.envelope import Request
from schemas.events import LogEvent
from schemas.response import Response

VERSION = "1.0.0"
"""Of all published schemas. The major number changes when a reader of the old ones would fail."""
NAMESPACE = "relayfleet.v1"
EXTRA = "extra"
PARTS = "_parts"
MODELS: dict[str, type[BaseModel]] = {
    "request": Request,
    "response": Response,
    "log_event": LogEvent,
    "chunk": Chunk,
}
"""In the order of their ids where there is no registry: new ones go to the end."""

Record: TypeAlias = dict[str, Any]


def avro_schema(model: type[BaseModel]) -> Record:
    """The Avro record of a model, as JSON types."""
    return {**_record(model), "namespace": NAMESPACE, "version": VERSION}


def _record(model: type[BaseModel]) -> Record:
    fields = [field for name, info in model.model_fields.items() for field in _fields(name, info)]
    extra = {
        "name": EXTRA,
        "doc": "Fields that this schema does not know, as a JSON object.",
        **_JSON_OR_NULL,
    }
    return {"type": "record", "name": model.__name__, "doc": model.__doc__, "fields": [*fields, extra]}


_JSON_OR_NULL: Record = {"type": ["null", "string"], "default": None, "encoding": "json"}
_PRIMITIVES: dict[Any, str] = {str: "string", bool: "boolean", int: "long", float: "double"}


def _fields(name: str, info: FieldInfo) -> list[Record]:
    kinds = _alternatives(info.annotation)
    if list[Any] in kinds:
        parts = {"name": name + PARTS, "doc": f"`{name}` where it is a list, as JSON.", **_JSON_OR_NULL}
        return [{"name": name, "type": ["null", "string"], "default": None}, parts]
    (kind,) = kinds - {None}
    if get_origin(kind) is dict:
        return [{"name": name, "type": "string", "default": "{}", "encoding": "json"}]
    if kind == list[dict[str, Any]]:
        return [{"name": name, **_JSON_OR_NULL}]
    if None in kinds:
        # An optional value without a default would need one in Avro too, for readers of older records.
        return [{"name": name, "type": ["null", _type(kind)], "default": None}]
    default = {} if info.is_required() else {"default": info.default}
    return [{"name": name, "type": _type(kind), **default}]


def _alternatives(annotation: Any) -> set[Any]:
    if get_origin(annotation) in (Union, types.UnionType):
        return {None if kind is types.NoneType else kind for kind in get_args(annotation)}
    return {annotation}


def _type(kind: Any) -> Any:
    if get_origin(kind) is list:
        return {"type": "array", "items": _type(*get_args(kind))}
    if get_origin(kind) is Literal or issubclass(kind, StrEnum):
        return "string"  # an Avro enum could never grow without breaking its readers
    if issubclass(kind, BaseModel):
        return _record(kind)
    return _PRIMITIVES[kind]
