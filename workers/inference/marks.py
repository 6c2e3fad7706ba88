"""What the headers of a record tell the worker, read once."""

from typing import NamedTuple

from schemas import headers as h
from workers.core.records import Received

_DIGITS = 19  # of a 64-bit number
_AHEAD_MS = 3_600_000  # how far a clock may be ahead for Kafka; a dead letter from later than that it refuses
_BYTES = 1024  # of a text that goes into responses: longer than any that we write


class Marks(NamedTuple):
    """Times are epoch milliseconds; `received_ms` is the broker's time of the request."""

    received_ms: int
    routed_ms: int | None
    deadline_ms: int | None
    first_failed_ms: int | None
    attempts: int
    deferrals: int
    rule: str | None
    traceparent: str | None
    message_id: str | None  # as the router read it
    fallback: tuple[str, ...] = ()  # targets to go on to, of one that was left already
    shadow_of: str | None = None  # of a copy: the target that the message itself went to

    @classmethod
    def read(cls, record: Received) -> "Marks":
        """Read them; what is absent or damaged counts as not said."""
        values = dict(record.headers)  # of a name that comes twice the last one counts
        received = _int(values.get(h.RECEIVED_AT))
        if received is None or received > record.timestamp_ms + _AHEAD_MS:
            received = record.timestamp_ms
        return cls(
            received,
            _int(values.get(h.ROUTED_AT)),
            _int(values.get(h.DEADLINE)),
            _int(values.get(h.FIRST_FAILED_AT)),
            _int(values.get(h.ATTEMPT)) or 0,
            _int(values.get(h.DEFERRALS)) or 0,
            _text(values.get(h.ROUTE)),
            _text(values.get(h.TRACEPARENT)),
            _text(values.get(h.MESSAGE_ID)),
            tuple((values[h.FALLBACK] or b"").decode("utf-8", "replace").split(","))
            if h.FALLBACK in values
            else (),
            _text(values.get(h.SHADOW_OF)),
        )


def _int(value: bytes | None) -> int | None:
    return int(value) if value is not None and len(value) <= _DIGITS and value.isdigit() else None


def _text(value: bytes | None) -> str | None:
    return value[:_BYTES].decode("utf-8", "replace") if value else None
