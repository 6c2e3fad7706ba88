"""Kafka records as the fleet sees them, whatever client library carries them."""

from typing import NamedTuple

from schemas.headers import Headers

__all__ = ["Headers", "Outgoing", "Position", "Received", "TopicPartition"]


class TopicPartition(NamedTuple):
    """One partition of a topic."""

    topic: str
    partition: int

    def __str__(self) -> str:
        return f"{self.topic}:{self.partition}"


class Received(NamedTuple):
    """A consumed record. `timestamp_ms` is epoch milliseconds."""

    topic: str
    partition: int
    offset: int
    key: bytes | None
    value: bytes | None
    headers: Headers
    timestamp_ms: int

    @property
    def position(self) -> str:
        """`topic:partition:offset`, as people and the ledger write it."""
        return f"{self.topic}:{self.partition}:{self.offset}"


def weight(record: Received) -> int:
    """Bytes of what a record holds. Headers can be as large as values."""
    held = len(record.value or b"") + len(record.key or b"")
    for name, value in record.headers:
        held += len(name) + len(value or b"")
    return held


LONGEST_ECHO = 65_536


def echoed(key: bytes | None) -> bytes | None:
    """The key of a request as that of its response. One that might leave no room for the response is left out."""
    return key if key is None or len(key) <= LONGEST_ECHO else None


class Outgoing(NamedTuple):
    """A record to produce. Without `partition`, or where the topic has no such one, the key decides.

    Without `timestamp_ms` the producer's clock does.
    """

    topic: str
    key: bytes | None
    value: bytes | None
    headers: Headers = ()
    partition: int | None = None
    timestamp_ms: int | None = None


class Position(NamedTuple):
    """How far a group has come in a partition: the next `offset` to read, and our own `metadata` beside it."""

    offset: int
    metadata: str = ""
