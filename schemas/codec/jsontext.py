"""JSON text to Python values and back, as RFC 8259 has it: no NaN, no lone surrogates, bounded nesting.

Whole numbers beyond 64 bits are read as doubles, as most JSON readers do.
"""

from typing import Any

import orjson

from schemas.errors import DecodeError

MAX_DEPTH = 100
"""Levels of arrays and objects. What is deeper is an attack or a mistake, and other readers give up on it."""

_INT_MIN, _INT_MAX = -(2**63), 2**63 - 1


def loads(value: bytes, wire: str = "json") -> Any:
    """Parse. Raises `DecodeError` with the byte where parsing stopped."""
    try:
        parsed = orjson.loads(value)
    except orjson.JSONDecodeError as error:
        failure = _explain(value, error, wire)
    else:
        if value.count(b"[") + value.count(b"{") <= MAX_DEPTH or not _deeper_than(parsed, MAX_DEPTH):
            return parsed
        failure = DecodeError(f"nested deeper than {MAX_DEPTH} levels", wire=wire)
    raise failure


def load_object(value: bytes, wire: str = "json") -> dict[str, Any]:
    """Parse what must be an object."""
    parsed = loads(value, wire)
    if not isinstance(parsed, dict):
        raise DecodeError(f"{_KINDS[type(parsed)]} where an object is needed", wire=wire)
    return parsed


def dumps(value: Any) -> bytes:
    """Write. What JSON or UTF-8 can't hold is mended: an answer is never lost to half a surrogate pair."""
    try:
        return orjson.dumps(value)
    except orjson.JSONEncodeError:
        return orjson.dumps(mended(value))


def mended(value: Any) -> Any:
    """The same value with lone surrogates replaced by U+FFFD and whole numbers cut to 64 bits."""
    if isinstance(value, str):
        return value.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
    if isinstance(value, int):
        return value if isinstance(value, bool) else max(_INT_MIN, min(value, _INT_MAX))
    if isinstance(value, dict):
        return {mended(key): mended(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [mended(item) for item in value]
    return value


_KINDS = {
    str: "a string",
    int: "a number",
    float: "a number",
    bool: "true or false",
    list: "an array",
    type(None): "null",
}


def _explain(value: bytes, error: orjson.JSONDecodeError, wire: str) -> DecodeError:
    if not value.strip():
        return DecodeError("the value is empty", wire=wire)
    try:
        value.decode()
    except UnicodeDecodeError as damage:
        return DecodeError(f"invalid UTF-8: {damage.reason}", wire=wire, position=damage.start)
    # orjson counts characters; what people look for in a dump is the byte.
    position = len(error.doc[: error.pos].encode("utf-8", "surrogatepass"))
    return DecodeError(f"not JSON: {error.msg}", wire=wire, position=position)


def _deeper_than(value: Any, limit: int) -> bool:
    level = [value]
    for _ in range(limit):
        level = [child for node in level if isinstance(node, dict | list) for child in _children(node)]
        if not level:
            return False
    return any(isinstance(node, dict | list) for node in level)


def _children(node: dict[str, Any] | list[Any]) -> list[Any]:
    return node if isinstance(node, list) else list(node.values())
