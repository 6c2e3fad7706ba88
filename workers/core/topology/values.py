"""The scalar types of topology.yaml."""

import re
from typing import Annotated

from pydantic import BeforeValidator

_UNITS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0, "w": 604800.0}
_DURATION = re.compile(r"(\d+(?:\.\d+)?)\s*(ms|s|m|h|d|w)")
_SIZES = {
    "": 1,
    "k": 1000,
    "kb": 1000,
    "mb": 1000**2,
    "gb": 1000**3,
    "kib": 1024,
    "mib": 1024**2,
    "gib": 1024**3,
}
_SIZE = re.compile(r"(\d+(?:\.\d+)?)\s*([a-z]*)")


def parse_duration(value: object) -> object:
    """`250ms`, `30s`, `5m`, `2h`, `7d`, `1w`, or plain seconds, as seconds."""
    if not isinstance(value, str):
        return value
    match = _DURATION.fullmatch(value.strip().lower())
    if match is None:
        raise ValueError(f"{value!r} is not a duration; write a number and a unit: 250ms, 30s, 5m, 2h, 7d")
    return float(match[1]) * _UNITS[match[2]]


def parse_size(value: object) -> object:
    """`900kB`, `1MiB`, or plain bytes, as bytes."""
    if not isinstance(value, str):
        return value
    match = _SIZE.fullmatch(value.strip().lower())
    if match is None or match[2] not in _SIZES:
        raise ValueError(f"{value!r} is not a size; write bytes or a number and a unit: 900kB, 1MiB")
    return int(float(match[1]) * _SIZES[match[2]])


Seconds = Annotated[float, BeforeValidator(parse_duration)]
Bytes = Annotated[int, BeforeValidator(parse_size)]
