"""Where the codecs find Avro schemas by the id or GUID that a registry gave them."""

import functools
import uuid
from dataclasses import dataclass
from typing import Any, Protocol

import fastavro

from schemas.avsc import MODELS, avro_schema
from schemas.errors import DecodeError


@dataclass(frozen=True, slots=True)
class AvroSchema:
    """A schema that is safe to read hostile bytes with. `parsed` is fastavro's own form."""

    name: str
    definition: dict[str, Any]
    parsed: Any


class SchemaSource(Protocol):
    """Knows schemas. Never waits: what is not at hand is None."""

    def by_id(self, schema_id: int) -> AvroSchema | None:
        """The schema with this id."""

    def by_guid(self, guid: uuid.UUID) -> AvroSchema | None:
        """The schema with this GUID."""

    def id_of(self, name: str) -> int:
        """The id under which our own schema (`request`, `response`, `log_event`, `chunk`) is registered."""


class BundledSchemas:
    """Our own schemas and no registry: ids 1 to 4 for `request`, `response`, `log_event` and `chunk`."""

    def __init__(self) -> None:
        self._ids = {name: number for number, name in enumerate(MODELS, start=1)}
        self._schemas = {number: bundled(name) for name, number in self._ids.items()}
        self._guids = {guid_of(name): bundled(name) for name in MODELS}

    def by_id(self, schema_id: int) -> AvroSchema | None:
        """The schema with this id."""
        return self._schemas.get(schema_id)

    def by_guid(self, guid: uuid.UUID) -> AvroSchema | None:
        """The schema with this GUID."""
        return self._guids.get(guid)

    def id_of(self, name: str) -> int:
        """The id of our own schema."""
        return self._ids[name]


@functools.cache
def bundled(name: str) -> AvroSchema:
    """Our own schema of this name."""
    return prepare(avro_schema(MODELS[name]))


def guid_of(name: str) -> uuid.UUID:
    """The GUID of a bundled schema: the same wherever the schema is the same."""
    return uuid.uuid5(uuid.NAMESPACE_OID, fastavro.schema.to_parsing_canonical_form(bundled(name).definition))


def prepare(definition: dict[str, Any]) -> AvroSchema:
    """Get a schema ready for reading.

    Raises `DecodeError` for what is no Avro record, and for schemas with which a few bytes could fill the memory
    (arrays of items that take no bytes) or the stack (records inside themselves).
    """
    try:
        parsed = fastavro.parse_schema(definition, named_schemas={})
        if not isinstance(parsed, dict) or parsed["type"] != "record":
            raise DecodeError("the schema is not a record", wire="avro")
        name = fastavro.schema.fullname(definition)
        _Sizes().least(definition, "")
    except (fastavro.schema.SchemaParseException, fastavro.schema.UnknownType, *_MALFORMED) as error:
        raise DecodeError(f"the schema is not an Avro schema: {type(error).__name__}", wire="avro") from None
    return AvroSchema(name, definition, parsed)


_MALFORMED = (TypeError, ValueError, LookupError, AttributeError, RecursionError)


class _Sizes:
    """The fewest bytes that a value of a schema takes."""

    def __init__(self) -> None:
        self._known: dict[str, int | None] = {}  # None while a record is being looked at

    def least(self, schema: Any, namespace: str) -> int:
        if isinstance(schema, list):
            return 1 + min(self.least(branch, namespace) for branch in schema)
        if isinstance(schema, str):
            return self._named(schema, namespace)
        return self._complex(schema, namespace)

    def _named(self, name: str, namespace: str) -> int:
        if name in _PRIMITIVE_BYTES:
            return _PRIMITIVE_BYTES[name]
        full = name if "." in name or not namespace else f"{namespace}.{name}"
        size = self._known[full]
        if size is None:
            raise DecodeError(f"the schema has {full} inside itself: not read", wire="avro")
        return size

    def _complex(self, schema: dict[str, Any], namespace: str) -> int:
        kind = schema["type"]
        if kind in ("record", "error", "enum", "fixed"):
            return self._define(schema, namespace)
        if kind == "array":
            if self.least(schema["items"], namespace) == 0:
                raise DecodeError(
                    "the schema has an array of items that take no bytes: not read", wire="avro"
                )
            return 1
        if kind == "map":
            self.least(schema["values"], namespace)
            return 1
        return self.least(kind, namespace)

    def _define(self, schema: dict[str, Any], namespace: str) -> int:
        full = fastavro.schema.fullname({"namespace": namespace, **schema})
        inner = full.rpartition(".")[0]
        self._known[full] = None
        if schema["type"] == "fixed":
            size = schema["size"]
        elif schema["type"] == "enum":
            size = 1
        else:
            size = sum(self.least(field["type"], inner) for field in schema["fields"])
        self._known[full] = size
        return int(size)


_PRIMITIVE_BYTES = {
    "null": 0,
    "boolean": 1,
    "int": 1,
    "long": 1,
    "float": 4,
    "double": 8,
    "bytes": 1,
    "string": 1,
}
