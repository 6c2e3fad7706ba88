"""The scalar types of topology.yaml."""

import re
from decimal import Decimal
from typing import Annotated

from pydantic import BeforeValidator, Field, PlainSerializer, WithJsonSchema

_UNITS = {"ms": "0.001", "s": "1", "m": "60", "h": "3600", "d": "86400", "w": "604800"}
_DURATION = re.compile(r"([0-9]{1,15}(?:\.[0-9]{1,9})?)\s*(ms|s|m|h|d|w)")
_SIZES = {
    "": 1,
    "b": 1,
    "k": 1000,
    "kb": 1000,
    "mb": 1000**2,
    "gb": 1000**3,
    "kib": 1024,
    "mib": 1024**2,
    "gib": 1024**3,
}
_SIZE = re.compile(r"([0-9]{1,15}(?:\.[0-9]{1,9})?)\s*([a-z]*)")
_NUMBER = re.compile(r"[0-9]{1,15}(?:\.[0-9]{1,9})?")

MAX_SECONDS = 10 * 365 * 86400.0
"""Ten years: longer is a slip, and it keeps milliseconds far from any integer's end."""
MAX_BYTES = 2**31 - 1
"""The largest message size that Kafka can be told."""


def parse_duration(value: object) -> object:
    """`250ms`, `30s`, `5m`, `2h`, `7d`, `1w`, or plain seconds, as seconds."""
    refuse_bool(value)
    if not isinstance(value, str):
        return value
    text = value.strip().lower()
    if _NUMBER.fullmatch(text):
        return float(text)
    match = _DURATION.fullmatch(text)
    if match is None:
        raise ValueError(f"{value!r} is not a duration; write a number and a unit: 250ms, 30s, 5m, 2h, 7d")
    return float(Decimal(match[1]) * Decimal(_UNITS[match[2]]))


def format_duration(seconds: float) -> str:
    """Seconds as the longest unit that needs no fraction: 90.0 is `90s`, 604800.0 is `1w`; parses back exactly."""
    milliseconds = round(seconds * 1000)
    for unit in ("w", "d", "h", "m", "s"):
        size = round(float(_UNITS[unit]) * 1000)
        if milliseconds % size == 0 and milliseconds:
            return f"{milliseconds // size}{unit}"
    return f"{milliseconds}ms" if milliseconds else "0s"


def parse_size(value: object) -> object:
    """`900kB`, `1MiB`, or plain bytes, as bytes."""
    refuse_bool(value)
    if not isinstance(value, str):
        return value
    match = _SIZE.fullmatch(value.strip().lower())
    if match is None or match[2] not in _SIZES:
        raise ValueError(f"{value!r} is not a size; write bytes or a number and a unit: 900kB, 1MiB")
    return int(Decimal(match[1]) * _SIZES[match[2]])


def refuse_bool(value: object) -> object:
    """`true` is no number, though Python counts with it."""
    if isinstance(value, bool):
        raise ValueError("must be a number, not true or false")  # noqa: TRY004 - pydantic reports ValueError
    return value


def parse_concurrency(value: object) -> object:
    """A whole number from 1, or `adaptive`."""
    if value == "adaptive":
        return value
    text = "" if isinstance(value, bool) else str(value).strip()
    if re.fullmatch(r"[0-9]{1,6}", text) is None or int(text) == 0:
        raise ValueError("must be a whole number from 1 to 999999, or `adaptive`")
    return int(text)


def one_or_many(value: object) -> object:
    """A single text stands for a list of one."""
    return (value,) if isinstance(value, str) else value


def blank_is_none(value: object) -> object:
    """An empty text, as an unset `${NAME:-}` leaves it, is no value."""
    return None if isinstance(value, str) and not value.strip() else value


def visible(value: str) -> str:
    """Refuse text without a visible character, or with control characters."""
    if not value.strip():
        raise ValueError("must not be blank")
    if any(character < " " or character == "\x7f" for character in value):
        raise ValueError("must not hold control characters")
    return value


_DURATION_SCHEMA = {
    "anyOf": [{"type": "number"}, {"type": "string", "pattern": r"^\d+(\.\d+)?\s*(ms|s|m|h|d|w)?$"}]
}
_SIZE_SCHEMA = {
    "anyOf": [{"type": "integer"}, {"type": "string", "pattern": r"^\d+(\.\d+)?\s*([kKmMgG]?i?[bB]?)$"}]
}

Seconds = Annotated[
    float,
    BeforeValidator(parse_duration),
    Field(le=MAX_SECONDS),
    PlainSerializer(format_duration, when_used="json", return_type=str),
    WithJsonSchema(_DURATION_SCHEMA),
]
Bytes = Annotated[int, BeforeValidator(parse_size), Field(le=MAX_BYTES), WithJsonSchema(_SIZE_SCHEMA)]
Count = Annotated[int, BeforeValidator(refuse_bool)]
Number = Annotated[float, BeforeValidator(refuse_bool)]
