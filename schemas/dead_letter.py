"""Dead letters as their readers see them: the record, and what its headers tell about the failure.

Read are our own headers, those of Kafka's share groups, and those of Kafka Connect, Kafka Streams and Spring.
"""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

from pydantic import BaseModel, ConfigDict

from schemas import headers as h
from schemas.errors import ErrorClass, Stage
from schemas.failure import Failure, dead_letter_headers, fingerprint, origin_fields
from schemas.headers import Headers

__all__ = [
    "DeadLetter",
    "Facts",
    "Failure",
    "Place",
    "dead_letter_headers",
    "fingerprint",
    "origin_fields",
    "read_dead_letter",
    "read_facts",
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


class Facts(NamedTuple):
    """What the headers of a dead letter tell; see `DeadLetter`. Places are topic, partition and offset."""

    failed: "Spot | None"
    origin: "Spot | None"
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


Spot = tuple[str, int | None, int | None]
"""A `Place` in little memory."""


def read_facts(headers: Headers) -> Facts:
    """What headers tell of a failure: the cheap half of `read_dead_letter`, for a million of them. Never raises."""
    known = _Known(headers)
    text, number = known.text, known.number
    message, exception = known.first(_MESSAGES), known.first(_EXCEPTIONS)
    error_class, stage = _CLASSES.get(text(h.ERROR_CLASS)), _STAGES.get(text(h.ERROR_STAGE))
    status = number(h.ERROR_STATUS)
    return Facts(
        failed=known.place(_FAILED_PLACES),
        origin=known.place(_ORIGINS),
        group=known.first(_GROUPS),
        delivery_count=number(h.DLQ_DELIVERY_COUNT),
        message=message,
        exception=exception,
        error_class=error_class,
        stage=stage,
        status=status,
        message_id=text(h.MESSAGE_ID),
        source=text(h.SOURCE),
        target=text(h.TARGET),
        instance=text(h.INSTANCE),
        rule=text(h.ROUTE),
        attempt=number(h.ATTEMPT),
        deferrals=number(h.DEFERRALS),
        deadline_ms=number(h.DEADLINE),
        first_failed_at_ms=number(h.FIRST_FAILED_AT),
        last_failed_at_ms=number(h.LAST_FAILED_AT),
        fingerprint=text(h.FINGERPRINT) or _fingerprint(error_class, stage, status, exception, message),
        replay_id=text(h.REPLAY_ID),
        replay_count=number(h.REPLAY_COUNT) or 0,
        replay_by=text(h.REPLAY_BY),
    )


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
    facts = read_facts(headers)._asdict()
    failed, origin = facts.pop("failed"), facts.pop("origin")
    return DeadLetter.model_construct(  # every value is of its type already, and nothing here may raise
        topic=topic,
        partition=partition,
        offset=offset,
        key=key,
        value=value,
        headers=headers,
        timestamp_ms=timestamp_ms,
        failed=_place(failed),
        origin=_place(origin),
        **facts,
    )


def _place(spot: Spot | None) -> Place | None:
    if spot is None:
        return None
    return Place.model_construct(topic=spot[0], partition=spot[1], offset=spot[2])


class _Names(NamedTuple):
    topic: str
    partition: str
    offset: str


_ORIGINS = (_Names(h.ORIGIN_TOPIC, h.ORIGIN_PARTITION, h.ORIGIN_OFFSET),)
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
_BINARY_PREFIX = "kafka_"  # Spring
_CLASSES: Mapping[str | None, ErrorClass] = {member.value: member for member in ErrorClass}
_STAGES: Mapping[str | None, Stage] = {member.value: member for member in Stage}


class _Known:
    """The headers by name, the last of a name winning, with the first of several names that is there."""

    def __init__(self, headers: Headers) -> None:
        self._values = dict(headers)

    def text(self, name: str) -> str | None:
        value = self._values.get(name)
        return value.decode("utf-8", "replace") if value else None

    def first(self, names: Sequence[str]) -> str | None:
        for name in names:
            if name in self._values and (found := self.text(name)):
                return found
        return None

    def number(self, name: str) -> int | None:
        value = self._values.get(name)
        return None if value is None else h.to_int(value)

    def binary(self, name: str) -> int | None:
        """Spring writes numbers as 4 or 8 bytes, big-endian."""
        value = self._values.get(name)
        return (
            None if value is None or len(value) not in (4, 8) else int.from_bytes(value, "big", signed=True)
        )

    def place(self, families: Sequence[_Names]) -> Spot | None:
        for names in families:
            if names.topic in self._values and (topic := self.text(names.topic)):
                number = self.binary if names.topic.startswith(_BINARY_PREFIX) else self.number
                return topic, number(names.partition), number(names.offset)
        return None


def _fingerprint(
    error_class: ErrorClass | None,
    stage: Stage | None,
    status: int | None,
    exception: str | None,
    message: str | None,
) -> str | None:
    reason = ": ".join(filter(None, (exception, message)))
    if not reason and error_class is None:
        return None
    return fingerprint(error_class, stage, status, reason)
