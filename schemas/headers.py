"""Names of the record headers, and how they are read and written.

All values we write are UTF-8 text on one line; a name is overwritten, never repeated.
"""

from collections.abc import Iterable, Mapping
from typing import Final

Headers = tuple[tuple[str, bytes | None], ...]
"""Record headers in order; Kafka allows a name twice and a null value."""

TRACEPARENT: Final = "traceparent"
TRACESTATE: Final = "tracestate"
CONTENT_TYPE: Final = "content-type"
CACHE_CONTROL: Final = "cache-control"  # no-cache: ask afresh; no-store: and keep nothing

# Kafka's own names for dead letters (KIP-1191).
DLQ_TOPIC: Final = "__dlq.errors.topic"
DLQ_PARTITION: Final = "__dlq.errors.partition"
DLQ_OFFSET: Final = "__dlq.errors.offset"
DLQ_GROUP: Final = "__dlq.errors.group"
DLQ_DELIVERY_COUNT: Final = "__dlq.errors.delivery.count"
DLQ_MESSAGE: Final = "__dlq.errors.message"

PREFIX: Final = "relay."
MESSAGE_ID: Final = "relay.message-id"
SOURCE: Final = "relay.source"
TENANT: Final = "relay.tenant"  # who is charged
PRIORITY: Final = "relay.priority"  # interactive or batch; without it the tenant's
TARGET: Final = "relay.target"
INSTANCE: Final = "relay.instance"
SHADOW_OF: Final = "relay.shadow-of"  # of a copy: the target that the message itself went to
ROUTE: Final = "relay.route"  # the name of the rule
ATTEMPT: Final = "relay.attempt"  # attempts used so far
DEFERRALS: Final = "relay.deferrals"  # waits that burnt no attempt
NOT_BEFORE: Final = "relay.not-before"  # epoch milliseconds
DEADLINE: Final = "relay.deadline"  # epoch milliseconds
ERROR_CLASS: Final = "relay.error.class"
ERROR_STAGE: Final = "relay.error.stage"
ERROR_STATUS: Final = "relay.error.status"
FIRST_FAILED_AT: Final = "relay.first-failed-at"  # epoch milliseconds, write once
LAST_FAILED_AT: Final = "relay.last-failed-at"  # epoch milliseconds
ORIGIN_TOPIC: Final = "relay.origin.topic"  # write once, as the next two
ORIGIN_PARTITION: Final = "relay.origin.partition"
ORIGIN_OFFSET: Final = "relay.origin.offset"
FINGERPRINT: Final = "relay.fingerprint"
REPLAY_ID: Final = "relay.replay.id"
REPLAY_COUNT: Final = "relay.replay.count"
REPLAY_BY: Final = "relay.replay.by"
REPLAY_LINK: Final = "relay.replay.link"  # the `traceparent` that the message had before its replay
REPLY_PARTITION: Final = (
    "relay.reply-partition"  # where a gateway waits: `3`, or `3,7` where its chunks lie elsewhere
)
FALLBACK: Final = "relay.fallback"  # targets to go on to, in order, separated by commas
RECEIVED_AT: Final = (
    "relay.received-at"  # epoch milliseconds: the broker's timestamp of the request, for `timing`
)
ROUTED_AT: Final = "relay.routed-at"  # epoch milliseconds


_CARRIED: Final = frozenset({TRACEPARENT, TRACESTATE, TENANT, REPLY_PARTITION, REPLAY_ID, REPLAY_COUNT})
LONGEST_CARRIED: Final = 1024
"""Bytes. A trace's state has half as many at most; what is longer was written to do harm, or by mistake."""


def get(headers: Headers, name: str) -> str | None:
    """The last value of this name, or None. Bytes that are not UTF-8 become U+FFFD; never raises."""
    for key, value in reversed(headers):
        if key == name:
            return None if value is None else value.decode("utf-8", "replace")
    return None


def get_int(headers: Headers, name: str) -> int | None:
    """The last value of this name as a whole number of at most 19 digits, or None where it isn't one."""
    value = next((value for key, value in reversed(headers) if key == name), None)
    return None if value is None else to_int(value)


def to_int(value: bytes) -> int | None:
    """A header's value as a whole number of at most 19 digits, or None where it isn't one."""
    return int(value) if len(value) <= _INT_DIGITS and value.removeprefix(b"-").isdigit() else None


def with_headers(headers: Headers, updates: Mapping[str, str]) -> Headers:
    """The headers with these names set to these values: earlier ones of the same name go, all others stay as they are."""
    kept = tuple(header for header in headers if header[0] not in updates)
    return kept + tuple((name, to_bytes(value)) for name, value in updates.items())


def without_headers(headers: Headers, names: Iterable[str]) -> Headers:
    """The headers less these names."""
    dropped = frozenset(names)
    return tuple(header for header in headers if header[0] not in dropped)


def carried(headers: Headers) -> Headers:
    """The headers that go on from a request to its response: each once, none so long that the response would not fit."""
    found = {name: value for name, value in headers if name in _CARRIED}
    if not found:
        return ()
    return tuple(
        [(name, value) for name, value in found.items() if value is None or len(value) <= LONGEST_CARRIED]
    )


def reply_partition(headers: Headers) -> int | None:
    """The partition of `model_responses` where the sender waits for its answer; None where none is named legibly."""
    return _reply_place(headers, 0)


def chunks_partition(headers: Headers) -> int | None:
    """The partition of `model_chunks` where the sender waits for the pieces of its answer, or None."""
    return _reply_place(headers, -1)


def reply_places(responses: int, chunks: int) -> str:
    """The value of `relay.reply-partition` for somebody who reads these partitions."""
    return str(responses) if responses == chunks else f"{responses},{chunks}"


def _reply_place(headers: Headers, which: int) -> int | None:
    for name, value in headers:
        if name == REPLY_PARTITION and value is not None:
            number = value.split(b",", 1)[which]
            return int(number) if number.isdigit() and len(number) <= _PARTITION_DIGITS else None
    return None


def to_bytes(text: str) -> bytes:
    """The text as a header value: UTF-8 on one line; a control character becomes a space, a lone surrogate `?`."""
    if not text.isprintable():
        text = "".join(char if char.isprintable() else _BLANKS.get(char, char) for char in text)
    return text.encode("utf-8", "replace")


_PARTITION_DIGITS: Final = 6
_INT_DIGITS: Final = 20  # the sign and the 19 digits of a 64-bit number
# What ends a line or steers a terminal: C0, DEL, C1, and Unicode's two separators.
_BLANKS: Final = dict.fromkeys(map(chr, (*range(0x20), *range(0x7F, 0xA0), 0x2028, 0x2029)), " ")
