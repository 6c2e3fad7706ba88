"""The ports of Kafka: writing, reading in a group and without one, and what a cluster is asked and told."""

from collections.abc import Awaitable, Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from workers.core.deadlines import Deadline
from workers.core.records import Outgoing, Position, Received, TopicPartition


class Publisher(Protocol):
    """Writes records to Kafka."""

    def deliver(self, records: Sequence[Outgoing]) -> Awaitable[None]:
        """Write the records; done when all in-sync replicas have every one of them.

        The records are handed to the client before this returns, so calls keep their order.
        Raises `PermanentError(too_large)` for a record that no topic would take, `FatalError` when delivery failed for
        good: then it is unknown which records arrived, and the caller must acknowledge nothing.
        """

    def post(self, record: Outgoing) -> None:
        """Write a record without waiting and without blocking; a failure is only counted. For logs, shadows and state."""

    async def close(self, deadline: Deadline) -> int:
        """Flush until the deadline and let go. Returns how many records were still undelivered."""


class Listener(Protocol):
    """What a `Subscription` calls, always on the event loop that started it."""

    def records(self, batch: Sequence[Received]) -> None:
        """Records came in, in order within a partition. Must not block: keep them, pause if they are too many."""

    def assigned(self, partitions: Mapping[TopicPartition, Position | None]) -> None:
        """These partitions are ours from now on, with the group's committed position where there is one."""

    async def revoked(self, partitions: Sequence[TopicPartition]) -> Mapping[TopicPartition, Position]:
        """These partitions go to another member. Finish or drop their work, then return what to commit.

        The group waits for this, and gives up on us after a few seconds: bound it.
        """

    def lost(self, partitions: Sequence[TopicPartition]) -> None:
        """These partitions are already somebody else's. Nothing of them may be committed."""

    def failed(self, error: BaseException) -> None:
        """The subscription can't go on; the process must stop."""


class Subscription(Protocol):
    """Membership of a consumer group. Polling has a thread of its own and never waits for work."""

    async def start(self, listener: Listener) -> None:
        """Join the group; returns at once, `Listener.assigned` tells when partitions come."""

    def pause(self, partitions: Sequence[TopicPartition]) -> None:
        """Fetch no more from these until `resume`; records already fetched may still come."""

    def resume(self, partitions: Sequence[TopicPartition]) -> None:
        """Fetch from these again."""

    async def commit(self, positions: Mapping[TopicPartition, Position]) -> None:
        """Commit for the group. Positions of partitions no longer owned are dropped. Raises `UnreachableError`."""

    async def lag(self) -> Mapping[TopicPartition, int]:
        """Records between the last one delivered to the listener and the end, from what the client already knows."""

    def positions(self) -> Mapping[TopicPartition, int]:
        """Of each partition the next offset: what is before it was delivered to the listener, or can't be read by anybody."""

    async def close(self, deadline: Deadline) -> None:
        """Leave the group, calling no listener any more. Idempotent."""


@dataclass(frozen=True, slots=True)
class TopicState:
    """A topic as it is, or as it should be. `config` holds Kafka's own names and text values."""

    name: str
    partitions: int
    replication: int
    config: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class ClusterInfo:
    """What `doctor` and `status` print about a cluster."""

    cluster_id: str
    brokers: tuple[str, ...]  # host:port


class Admin(Protocol):
    """Looks at a cluster and changes its topics. All raise `UnreachableError`."""

    async def cluster(self) -> ClusterInfo:
        """Who answers."""

    async def topics(self, names: Sequence[str] | None = None) -> Mapping[str, TopicState]:
        """The topics that exist, of these names or all; config only where it differs from the broker's default."""

    async def create(self, topics: Sequence[TopicState]) -> None:
        """Create topics; one that exists already is an error."""

    async def grow(self, topic: str, partitions: int) -> None:
        """Raise a topic's number of partitions."""

    async def configure(self, topic: str, config: Mapping[str, str]) -> None:
        """Set these configuration values, leaving the others."""

    async def end_offsets(self, topics: Sequence[str]) -> Mapping[TopicPartition, tuple[int, int]]:
        """The first and the next offset of every partition."""

    async def readable_ends(self, places: Collection[TopicPartition]) -> Mapping[TopicPartition, int]:
        """The offset after the last record of each that can be read: a transaction that goes on ends what can."""

    async def topic_ids(self, topics: Sequence[str]) -> Mapping[str, str]:
        """The ids of the topics that exist: a topic that is created again under its old name has another."""

    async def offsets_at(
        self, topics: Sequence[str], timestamp_ms: int | None
    ) -> Mapping[TopicPartition, tuple[int, int] | None]:
        """Of every partition the first record at or after a time: its offset and its own time, both as Kafka keeps them.

        Without a time, the record with the latest. None where there is no such record.
        """

    async def delete_before(self, offsets: Mapping[TopicPartition, int]) -> None:
        """Delete the records below these offsets, for good. Raises `UsageError` for an offset past the end."""

    async def committed(self, group: str) -> Mapping[TopicPartition, Position]:
        """Where a group stands."""

    async def close(self) -> None:
        """Let go of the connections."""


class Reader(Protocol):
    """Reads topics without a consumer group: for people and for tests, who change nothing by looking."""

    async def start(self) -> None:
        """Find the positions to start from. What is produced after this returned will be seen."""

    async def read(self, wait: float) -> Sequence[Received]:
        """The records that come within `wait` seconds, maybe none. Raises `UnreachableError`."""

    @property
    def at_end(self) -> bool:
        """Whether everything that was there at `start` has been read."""

    async def close(self) -> None:
        """Let go of the connections."""
