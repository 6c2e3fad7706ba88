"""What the headers of a record tell the worker, read once."""

from typing import Final

from schemas import headers as h
from workers.core.records import Received

_DIGITS: Final = 19  # of a 64-bit number
_AHEAD_MS: Final = (
    3_600_000  # how far a clock may be ahead for Kafka; a dead letter from later than that it refuses
)
_BYTES: Final = 1024  # of a text that goes into responses: longer than any that we write


class Marks:
    """What is absent or damaged counts as not said. Times are epoch milliseconds."""

    __slots__ = (
        "attempts",
        "deadline_ms",
        "deferrals",
        "fallback",
        "first_failed_ms",
        "message_id",
        "received_ms",
        "routed_ms",
        "rule",
        "shadow_of",
        "traceparent",
    )

    def __init__(self, record: Received) -> None:
        values = dict(record.headers)  # of a name that comes twice the last one counts
        received = _int(values.get(h.RECEIVED_AT))
        if received is None or received > record.timestamp_ms + _AHEAD_MS:
            received = record.timestamp_ms
        self.received_ms: int = received  # the broker's time of the request
        self.routed_ms = _int(values.get(h.ROUTED_AT))
        self.deadline_ms = _int(values.get(h.DEADLINE))
        self.first_failed_ms = _int(values.get(h.FIRST_FAILED_AT))
        self.attempts = _int(values.get(h.ATTEMPT)) or 0
        self.deferrals = _int(values.get(h.DEFERRALS)) or 0
        self.rule = _text(values.get(h.ROUTE))
        self.traceparent = _text(values.get(h.TRACEPARENT))
        self.message_id = _text(values.get(h.MESSAGE_ID))  # as the router read it
        self.fallback = _names(values[h.FALLBACK]) if h.FALLBACK in values else ()
        """Targets to go on to, of one that was left already."""
        self.shadow_of = _text(values.get(h.SHADOW_OF))
        """Of a copy: the target that the message itself went to."""


def _int(value: bytes | None) -> int | None:
    return int(value) if value is not None and len(value) <= _DIGITS and value.isdigit() else None


def _text(value: bytes | None) -> str | None:
    return value[:_BYTES].decode("utf-8", "replace") if value else None


def _names(value: bytes | None) -> tuple[str, ...]:
    return tuple((value or b"").decode("utf-8", "replace").split(","))
