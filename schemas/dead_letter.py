"""Dead letters as their readers see them: the record, and what its headers tell about the failure.

Read are our own headers, those of Kafka's share groups, and those of Kafka Connect, Kafka Streams and Spring.
"""

import enum
from collections.abc import Mapping
from typing import Any, NamedTuple, TypeVar

from pydantic import BaseModel, ConfigDict

from schemas import headers as h
from schemas.errors import ErrorClass, Stage
from schemas.failure import Failure, dead_letter_headers, fingerprint, origin_fields
from schemas.headers import Headers

__all__ = [
    "DeadLetter",
    "Failure",
    "Place",
    "dead_letter_headers",
    "fingerprint",
    "origin_fields",
    "read_dead_letter",
]


class Place(BaseModel):
    """A position in a topic; partition and offset are None where the headers don't tell."""

    model_config = ConfigDict(frozen=True)

    topic: str
    partition: int | None
    offset: int | None


class DeadLetter(BaseModel):
    """One record of a dead-letter topic. Whatever its headers don't tell, or tell in a damaged way, is None.

    Times are epoch milliseconds. `failed` is where it was read when it failed last, `origin` where it was first;
    `exception` is a class name that other systems give; `fingerprint` is worked out where no header has it. Dumped as
    JSON, bytes are base64.
    """

    model_config = ConfigDict(frozen=True, ser_json_bytes="base64")

    topic: str
    partition: int
    offset: int
    key: bytes | None
    value: bytes | None
    headers: Headers
    timestamp_ms: int
    failed: Place | None
    origin: Place | None
    group: str | None
    delivery_count: int | None
    message: str | None
    exception: str | None
    error_class: ErrorClass | None
    stage: Stage | None
    status: int | None
    message_id: str | None
    source: str | None
    target: str | None
    instance: str | None
    rule: str | None
    attempt: int | None
    deferrals: int | None
    deadline_ms: int | None
    first_failed_at_ms: int | None
    last_failed_at_ms: int | None
    fingerprint: str | None
    replay_id: str | None
    replay_count: int
    replay_by: str | None

    @property
    def position(self) -> str:
        """`topic:partition:offset`, the key of the ledger."""
        return f"{self.topic}:{self.partition}:{self.offset}"


def read_dead_letter(
    topic: str,
    partition: int,
    offset: int,
    key: bytes | None,
    value: bytes | None,
    headers: Headers,
    timestamp_ms: int,
) -> DeadLetter:
    """Read a record of a dead-letter topic; the parameters are those of a consumed record, in its order. Never raises."""
    known = _Known(headers)
    return DeadLetter.model_construct(  # every value is of its type already, and nothing here may raise
        topic=topic,
        partition=partition,
        offset=offset,
        key=key,
        value=value,
        headers=headers,
        timestamp_ms=timestamp_ms,
        failed=known.place(*_FAILED_PLACES),
        origin=known.place(_ORIGIN),
        group=known.text(*_GROUPS),
        delivery_count=known.number(h.DLQ_DELIVERY_COUNT),
        replay_id=known.text(h.REPLAY_ID),
        replay_count=known.number(h.REPLAY_COUNT) or 0,
        replay_by=known.text(h.REPLAY_BY),
        **_reasons(known),
        **_message_facts(known),
    )


def _reasons(known: "_Known") -> dict[str, Any]:
    """Why it failed."""
    message, exception = known.text(*_MESSAGES), known.text(*_EXCEPTIONS)
    error_class, stage = known.member(ErrorClass, h.ERROR_CLASS), known.member(Stage, h.ERROR_STAGE)
    status = known.number(h.ERROR_STATUS)
    like = _fingerprint(error_class, stage, status, ": ".join(filter(None, (exception, message))))
    return {
        "message": message,
        "exception": exception,
        "error_class": error_class,
        "stage": stage,
        "status": status,
        "fingerprint": known.text(h.FINGERPRINT) or like,
    }


def _message_facts(known: "_Known") -> dict[str, Any]:
    """What is known of the message and its attempts."""
    return {
        "message_id": known.text(h.MESSAGE_ID),
        "source": known.text(h.SOURCE),
        "target": known.text(h.TARGET),
        "instance": known.text(h.INSTANCE),
        "rule": known.text(h.ROUTE),
        "attempt": known.number(h.ATTEMPT),
        "deferrals": known.number(h.DEFERRALS),
        "deadline_ms": known.number(h.DEADLINE),
        "first_failed_at_ms": known.number(h.FIRST_FAILED_AT),
        "last_failed_at_ms": known.number(h.LAST_FAILED_AT),
    }


class _Names(NamedTuple):
    topic: str
    partition: str
    offset: str


_ORIGIN = _Names(h.ORIGIN_TOPIC, h.ORIGIN_PARTITION, h.ORIGIN_OFFSET)
# In the order of trust: who wrote the record to this topic comes before whoever had it earlier.
_FAILED_PLACES = (
    _Names(h.DLQ_TOPIC, h.DLQ_PARTITION, h.DLQ_OFFSET),
    *(
        _Names(f"{family}topic", f"{family}partition", f"{family}offset")
        for family in (
            "__connect.errors.",
            "__streams.errors.",
            "kafka_dlt-original-",
            "kafka_original-",  # Spring's retry topics leave `dlt-` out
        )
    ),
)
_MESSAGES = (
    h.DLQ_MESSAGE,
    "__connect.errors.exception.message",
    "__streams.errors.message",
    "kafka_dlt-exception-message",
    "kafka_exception-message",
)
_EXCEPTIONS = (
    "__connect.errors.exception.class.name",
    "__streams.errors.exception",
    "kafka_dlt-exception-cause-fqcn",  # the real error; `-fqcn` is Spring's wrapper around it
    "kafka_exception-cause-fqcn",
    "kafka_dlt-exception-fqcn",
    "kafka_exception-fqcn",
)
_GROUPS = (h.DLQ_GROUP, "kafka_dlt-original-consumer-group", "kafka_original-consumer-group")
_BINARY_PREFIX = "kafka_"  # Spring writes numbers as 4 or 8 bytes, big-endian
_M = TypeVar("_M", bound=enum.StrEnum)


class _Known:
    """The headers by name, the last of a name winning, with the first of several names that is there."""

    def __init__(self, headers: Headers) -> None:
        self._values: Mapping[str, bytes] = {name: value for name, value in headers if value is not None}

    def text(self, *names: str) -> str | None:
        value = next((self._values[name] for name in names if self._values.get(name)), None)
        return None if value is None else value.decode("utf-8", "replace")

    def number(self, name: str) -> int | None:
        value = self._values.get(name)
        if value is not None and name.startswith(_BINARY_PREFIX):
            return int.from_bytes(value, "big", signed=True) if len(value) in (4, 8) else None
        return None if value is None else h.get_int(((name, value),), name)

    def member(self, kind: type[_M], name: str) -> _M | None:
        text = self.text(name)
        return next((member for member in kind if member.value == text), None)

    def place(self, *families: _Names) -> Place | None:
        for names in families:
            topic = self.text(names.topic)
            if topic is not None:
                return Place.model_construct(
                    topic=topic, partition=self.number(names.partition), offset=self.number(names.offset)
                )
        return None


def _fingerprint(
    error_class: ErrorClass | None, stage: Stage | None, status: int | None, reason: str
) -> str | None:
    if not reason and error_class is None:
        return None
    return fingerprint(error_class, stage, status, reason)
