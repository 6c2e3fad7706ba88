"""A message that failed for good: the facts, and the headers of its dead letter.

The value, the key and the producer's headers stay as they came; everything of ours is text in headers, 8 kB at most.
"""

import hashlib
import re
from dataclasses import dataclass

from schemas import headers as h
from schemas.errors import ErrorClass, Stage
from schemas.headers import Headers

MAX_MESSAGE_BYTES = 2048
# With these, all names and values that are added take 6 kB at most; 8 are promised.
_MAX_BYTES = 256
_MAX_BYTES_OF = {
    h.MESSAGE_ID: 1024,  # 256 characters of the longest kind: an id is never cut
    h.DLQ_MESSAGE: MAX_MESSAGE_BYTES,
}

_ERROR_NAMES = frozenset(
    {
        *(h.DLQ_TOPIC, h.DLQ_PARTITION, h.DLQ_OFFSET, h.DLQ_GROUP, h.DLQ_DELIVERY_COUNT, h.DLQ_MESSAGE),
        *(h.ERROR_CLASS, h.ERROR_STAGE, h.ERROR_STATUS, h.LAST_FAILED_AT, h.FINGERPRINT),
    }
)
_ORIGIN_NAMES = (h.ORIGIN_TOPIC, h.ORIGIN_PARTITION, h.ORIGIN_OFFSET)


@dataclass(frozen=True, slots=True)
class Failure:
    """Why and where a message failed for good.

    `topic`, `partition`, `offset` and `group` are where it was read last; `reason` holds no prompt and no secret;
    what is None is not known, and then an earlier header of the message stays.
    """

    error_class: ErrorClass
    stage: Stage
    reason: str
    failed_at_ms: int
    topic: str
    partition: int
    offset: int
    group: str
    status: int | None = None
    message_id: str | None = None
    source: str | None = None
    target: str | None = None
    instance: str | None = None
    rule: str | None = None
    attempt: int | None = None
    deferrals: int | None = None


def dead_letter_headers(original: Headers, failure: Failure) -> Headers:
    """The headers of the dead letter: the original ones, and ours, each once.

    `relay.origin.*` and `relay.first-failed-at` keep the value they have; what an earlier failure left is replaced.
    """
    first_failed_at = h.get_int(original, h.FIRST_FAILED_AT)
    added = {
        **_error_fields(failure),
        **_message_fields(failure),
        **origin_fields(original, failure.topic, failure.partition, failure.offset),
        h.FIRST_FAILED_AT: str(failure.failed_at_ms if first_failed_at is None else first_failed_at),
    }
    added = {name: _cut(value, _MAX_BYTES_OF.get(name, _MAX_BYTES)) for name, value in added.items()}
    return h.with_headers(h.without_headers(original, _ERROR_NAMES), added)


def origin_fields(headers: Headers, topic: str, partition: int, offset: int) -> dict[str, str]:
    """`relay.origin.*` of a record: what its headers say, else this position, which is then its first."""
    known = h.get(headers, h.ORIGIN_TOPIC)
    numbers = h.get_int(headers, h.ORIGIN_PARTITION), h.get_int(headers, h.ORIGIN_OFFSET)
    if known and None not in numbers:
        values = (known, str(numbers[0]), str(numbers[1]))
    else:
        values = (topic, str(partition), str(offset))
    return dict(zip(_ORIGIN_NAMES, values, strict=True))


def fingerprint(error_class: ErrorClass | None, stage: Stage | None, status: int | None, reason: str) -> str:
    """16 hex digits, the same for like errors: numbers, ids and quoted words of the reason don't count."""
    normal = _VARYING.sub("#", reason[:_REASON_CHARS].lower())
    normal = " ".join(normal.split())
    text = "|".join("" if part is None else str(part) for part in (error_class, stage, status, normal))
    return hashlib.sha256(text.encode("utf-8", "replace")).hexdigest()[:16]


_REASON_CHARS = 300
_VARYING = re.compile(
    r"""
    "[^"]*" | '[^']*' | `[^`]*`                       # quoted words
    | \b[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}\b  # UUIDs
    | \b0x[0-9a-f]+\b
    | \b(?=[0-9a-f]*\d)[0-9a-f]{8,}\b                  # hashes and trace ids
    | \d+(?:\.\d+)*                                    # numbers, versions and addresses
    """,
    re.VERBOSE,
)


def _error_fields(failure: Failure) -> dict[str, str]:
    fields = {
        h.DLQ_TOPIC: failure.topic,
        h.DLQ_PARTITION: str(failure.partition),
        h.DLQ_OFFSET: str(failure.offset),
        h.DLQ_GROUP: failure.group,
        h.DLQ_MESSAGE: failure.reason,
        h.DLQ_DELIVERY_COUNT: str(max(1, failure.attempt or 0)),
        h.ERROR_CLASS: failure.error_class.value,
        h.ERROR_STAGE: failure.stage.value,
        h.LAST_FAILED_AT: str(failure.failed_at_ms),
        h.FINGERPRINT: fingerprint(failure.error_class, failure.stage, failure.status, failure.reason),
    }
    if failure.status is not None:
        fields[h.ERROR_STATUS] = str(failure.status)
    return fields


def _message_fields(failure: Failure) -> dict[str, str]:
    fields = {
        h.MESSAGE_ID: failure.message_id,
        h.SOURCE: failure.source,
        h.TARGET: failure.target,
        h.INSTANCE: failure.instance,
        h.ROUTE: failure.rule,
        h.ATTEMPT: failure.attempt,
        h.DEFERRALS: failure.deferrals,
    }
    return {name: str(value) for name, value in fields.items() if value is not None}


def _cut(text: str, limit: int) -> str:
    """At most `limit` bytes of UTF-8 on one line, with an ellipsis where something is missing."""
    data = h.to_bytes(text)
    if len(data) <= limit:
        return text
    return data[: limit - len(_ELLIPSIS)].decode("utf-8", "ignore") + _ELLIPSIS.decode()


_ELLIPSIS = "…".encode()
