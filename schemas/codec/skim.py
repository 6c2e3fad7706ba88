"""Counts what an Avro value holds before it is read: four bytes can stand for a record, and millions fit in a value."""

from collections.abc import Mapping
from typing import Any

MAX_ITEMS = 50_000
"""Of all arrays and maps of a value together."""


def too_many_items(data: bytes, start: int, parsed: Mapping[str, Any]) -> bool:
    """Whether the value at `start` has more than `MAX_ITEMS`. Damage ends the count: the reader will say what it is."""
    skimmer = _Skimmer(data, start, parsed["__named_schemas"])
    try:
        skimmer.skip(parsed)
    except LookupError:
        return False
    except _TooManyError:
        return True
    return False


class _TooManyError(Exception):
    """The count is above the limit."""


class _Skimmer:
    """Steps over a value, field by field, keeping nothing. Raises `LookupError` at its end or at damage."""

    def __init__(self, data: bytes, start: int, named: Mapping[str, Any]) -> None:
        self._data = data
        self._position = start
        self._named = named
        self._left = MAX_ITEMS

    def skip(self, schema: Any) -> None:
        if isinstance(schema, list):
            self.skip(schema[self._long()])
        elif isinstance(schema, str):
            self._skip_simple(schema)
        elif schema["type"] in ("record", "error"):
            for field in schema["fields"]:
                self.skip(field["type"])
        elif schema["type"] == "fixed":
            self._step(schema["size"])
        else:
            self._skip_nested(schema)

    def _skip_simple(self, kind: str) -> None:
        if kind in ("string", "bytes"):
            self._step(self._long())
        elif kind in ("int", "long", "enum"):
            self._long()
        elif kind in _BYTES:
            self._step(_BYTES[kind])
        else:
            self.skip(self._named[kind])

    def _skip_nested(self, schema: Mapping[str, Any]) -> None:
        kind = schema["type"]
        if kind == "array":
            self._skip_blocks(("null", schema["items"]))
        elif kind == "map":
            self._skip_blocks(("string", schema["values"]))
        else:
            self.skip(kind)

    def _skip_blocks(self, item: tuple[Any, Any]) -> None:
        while (count := self._long()) != 0:
            if count < 0:
                self._long()  # the size of the block in bytes
            self._left -= abs(count)
            if self._left < 0:
                raise _TooManyError
            for _ in range(abs(count)):
                self.skip(item[0])
                self.skip(item[1])

    def _step(self, size: int) -> None:
        if not 0 <= size <= len(self._data) - self._position:
            raise IndexError
        self._position += size

    def _long(self) -> int:
        value = shift = 0
        while (byte := self._data[self._position]) & 0x80:
            value |= (byte & 0x7F) << shift
            shift += 7
            self._position += 1
            if shift >= _LONG_BITS:
                raise IndexError
        self._position += 1
        value |= byte << shift
        return (value >> 1) ^ -(value & 1)


_LONG_BITS = 70  # ten bytes hold any 64-bit number
_BYTES = {"null": 0, "boolean": 1, "float": 4, "double": 8}
