"""A Kafka that lives in one event loop: for unit tests, and for whoever wants to try a part without a broker.

`MemoryBroker` keeps logs, groups and committed positions; its publisher, subscriptions and admin stand behind the
same ports as the real ones. Faults are asked for on the broker: `fail_deliveries`, `hold_deliveries`, `fail_commits`,
`unreachable`, and `revoke`, `lose`, `fail` on a subscription.
"""

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable, Collection, Iterable, Mapping, Sequence
from itertools import count
from zlib import crc32

from workers.core.clock import Clock, SystemClock
from workers.core.deadlines import Deadline
from workers.core.errors import FatalError, RelayError, UnreachableError, UsageError
from workers.core.ports import ClusterInfo, TopicState
from workers.core.records import Outgoing, Position, Received, TopicPartition
from workers.kafka.memory_group import MemoryGroup, MemorySubscription
from workers.kafka.sizes import DEFAULT_MAX_BYTES, check_records


class MemoryBroker:
    """Topics, groups and injected faults. `partitions` is what a topic gets that is created by its first use."""

    def __init__(self, *, partitions: int = 4, clock: Clock | None = None) -> None:
        self.partitions = partitions
        self.clock = clock or SystemClock()
        self.logs: dict[TopicPartition, list[Received]] = {}
        self.firsts: dict[TopicPartition, int] = {}  # where records below were deleted
        self.states: dict[str, TopicState] = {}
        self.unreachable = False
        self._groups: dict[str, MemoryGroup] = {}
        self._turn = count()
        self._failures: deque[RelayError] = deque()
        self._commit_failures: deque[RelayError] = deque()
        self._held: deque[Callable[[], None]] | None = None

    def publisher(
        self, *, max_message_bytes: int = DEFAULT_MAX_BYTES, topic_max_bytes: Mapping[str, int] | None = None
    ) -> "MemoryPublisher":
        """A publisher with limits of its own; sizes count key, value, headers and framing."""
        return MemoryPublisher(self, max_message_bytes, topic_max_bytes or {})

    def subscription(self, group: str, topics: Sequence[str]) -> MemorySubscription:
        """One more member of `group`; it joins when it is started."""
        return MemorySubscription(self, self.group(group), topics)

    def admin(self) -> "MemoryAdmin":
        """An admin client."""
        return MemoryAdmin(self)

    def group(self, name: str) -> MemoryGroup:
        """A consumer group, created by its first use; `committed` can be read and written."""
        if name not in self._groups:
            self._groups[name] = MemoryGroup(name, self)
        return self._groups[name]

    def create(self, state: TopicState) -> None:
        """Create a topic. Raises `UsageError` where it exists."""
        if state.name in self.states:
            raise UsageError(f"topic {state.name!r} exists already")
        self.states[state.name] = state
        self.logs |= {TopicPartition(state.name, n): [] for n in range(state.partitions)}

    def grow(self, topic: str, partitions: int) -> None:
        """Add partitions to a topic and let its groups share them out."""
        old = self.state(topic)
        self.states[topic] = TopicState(topic, partitions, old.replication, old.config)
        for number in range(old.partitions, partitions):
            self.logs[TopicPartition(topic, number)] = []
        for group in self._groups.values():
            group.rebalance()

    def state(self, topic: str) -> TopicState:
        """A topic's state; the topic is created where it is missing."""
        if topic not in self.states:
            self.create(TopicState(topic, self.partitions, 1, {}))
        return self.states[topic]

    def partitions_of(self, topics: Iterable[str]) -> list[TopicPartition]:
        """All partitions of these topics."""
        return [TopicPartition(topic, n) for topic in topics for n in range(self.state(topic).partitions)]

    def records(self, topic: str) -> list[Received]:
        """Everything in a topic, by partition and offset."""
        return [record for place in self.partitions_of([topic]) for record in self.logs[place]]

    def append(self, record: Outgoing) -> Received:
        """Write one record now, past every injected fault, as another system's producer would."""
        place = TopicPartition(record.topic, self._partition(record))
        log = self.logs[place]
        stamp = record.timestamp_ms if record.timestamp_ms is not None else int(self.clock.wall() * 1000)
        received = Received(
            place.topic, place.partition, len(log), record.key, record.value, tuple(record.headers), stamp
        )
        log.append(received)
        for group in self._groups.values():
            group.wake(place)
        return received

    def fail_deliveries(self, times: int = 1, error: RelayError | None = None) -> None:
        """Let the next `times` calls of `deliver` fail, with nothing written; for good unless `error` says else."""
        self._failures.extend([error or FatalError("delivery failed for good (injected)")] * times)

    def fail_commits(self, times: int = 1, error: RelayError | None = None) -> None:
        """Let the next `times` commits fail; `UnreachableError` unless `error` says else."""
        self._commit_failures.extend([error or UnreachableError("no coordinator (injected)")] * times)

    def hold_deliveries(self) -> None:
        """Acknowledge nothing until `release_deliveries`: what a broker that went away looks like."""
        self._held = self._held if self._held is not None else deque()

    def release_deliveries(self) -> None:
        """Write and acknowledge what was held, in order, and go on as usual."""
        held, self._held = self._held or deque(), None
        for write in held:
            write()

    def take_commit_failure(self) -> RelayError | None:
        """The failure that the next commit must meet."""
        if self.unreachable:
            return UnreachableError("the broker does not answer (injected)")
        return self._commit_failures.popleft() if self._commit_failures else None

    def take_delivery_failure(self) -> RelayError | None:
        """The failure that the next delivery must meet."""
        return self._failures.popleft() if self._failures else None

    def submit(self, write: Callable[[], None]) -> bool:
        """Run `write` now, or keep it while deliveries are held. Says whether it ran."""
        if self._held is None:
            write()
            return True
        self._held.append(write)
        return False

    def _partition(self, record: Outgoing) -> int:
        partitions = self.state(record.topic).partitions
        if record.partition is not None and record.partition < partitions:
            return record.partition
        if record.key is None:
            return next(self._turn) % partitions
        return crc32(record.key) % partitions


class MemoryPublisher:
    """The port `Publisher` over a `MemoryBroker`."""

    def __init__(self, broker: MemoryBroker, max_bytes: int, topic_max_bytes: Mapping[str, int]) -> None:
        self._broker = broker
        self._max_bytes = max_bytes
        self._topic_max_bytes = topic_max_bytes
        self._undelivered = 0

    def deliver(self, records: Sequence[Outgoing]) -> Awaitable[None]:
        """See `Publisher`."""
        done: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        try:
            check_records(records, self._max_bytes, self._topic_max_bytes)
        except RelayError as error:
            done.set_exception(error)
            return done
        failure = self._broker.take_delivery_failure()
        if failure is not None:
            done.set_exception(failure)
            return done
        self._undelivered += len(records)
        self._broker.submit(lambda: self._write(records, done))
        return done

    def post(self, record: Outgoing) -> None:
        """See `Publisher`."""
        self._broker.submit(lambda: self._write([record], None))

    async def close(self, deadline: Deadline) -> int:
        """See `Publisher`."""
        return self._undelivered

    def _write(self, records: Sequence[Outgoing], done: asyncio.Future[None] | None) -> None:
        for record in records:
            self._broker.append(record)
        if done is None:
            return
        self._undelivered -= len(records)
        if not done.done():
            done.set_result(None)


class MemoryAdmin:
    """The port `Admin` over a `MemoryBroker`."""

    def __init__(self, broker: MemoryBroker) -> None:
        self._broker = broker

    async def cluster(self) -> ClusterInfo:
        """See `Admin`."""
        self._answer()
        return ClusterInfo("memory", ("memory:0",))

    async def topics(self, names: Sequence[str] | None = None) -> Mapping[str, TopicState]:
        """See `Admin`."""
        self._answer()
        states = self._broker.states
        return {name: states[name] for name in (states if names is None else names) if name in states}

    async def create(self, topics: Sequence[TopicState]) -> None:
        """See `Admin`."""
        self._answer()
        for topic in topics:
            self._broker.create(topic)

    async def grow(self, topic: str, partitions: int) -> None:
        """See `Admin`."""
        now = self._existing(topic)
        if partitions <= now.partitions:
            raise UsageError(f"topic {topic!r} has {now.partitions} partitions; Kafka can only add some")
        self._broker.grow(topic, partitions)

    async def configure(self, topic: str, config: Mapping[str, str]) -> None:
        """See `Admin`."""
        now = self._existing(topic)
        merged = {**now.config, **config}
        self._broker.states[topic] = TopicState(topic, now.partitions, now.replication, merged)

    async def end_offsets(self, topics: Sequence[str]) -> Mapping[TopicPartition, tuple[int, int]]:
        """See `Admin`."""
        for topic in topics:
            self._existing(topic)
        broker = self._broker
        return {
            place: (broker.firsts.get(place, 0), len(broker.logs[place]))
            for place in broker.partitions_of(topics)
        }

    async def readable_ends(self, places: Collection[TopicPartition]) -> Mapping[TopicPartition, int]:
        """See `Admin`. There are no transactions here."""
        self._answer()
        return {place: len(self._broker.logs[place]) for place in places}

    async def topic_ids(self, topics: Sequence[str]) -> Mapping[str, str]:
        """See `Admin`. No topic is ever deleted here, so its name will do."""
        self._answer()
        return {topic: topic for topic in topics if topic in self._broker.states}

    async def offsets_at(
        self, topics: Sequence[str], timestamp_ms: int | None
    ) -> Mapping[TopicPartition, tuple[int, int] | None]:
        """See `Admin`."""
        found: dict[TopicPartition, tuple[int, int] | None] = {}
        for place, (first, _) in (await self.end_offsets(topics)).items():
            times = [(record.offset, record.timestamp_ms) for record in self._broker.logs[place][first:]]
            if timestamp_ms is None:
                found[place] = max(times, key=lambda item: (item[1], -item[0]), default=None)
            else:
                found[place] = next((item for item in times if item[1] >= timestamp_ms), None)
        return found

    async def delete_before(self, offsets: Mapping[TopicPartition, int]) -> None:
        """See `Admin`. The log keeps them, for tests to see; readers and `end_offsets` begin after them."""
        for place, offset in offsets.items():
            self._existing(place.topic)
            if offset > len(self._broker.logs[place]):
                raise UsageError(f"{place} ends before offset {offset}")
            self._broker.firsts[place] = max(offset, self._broker.firsts.get(place, 0))

    async def committed(self, group: str) -> Mapping[TopicPartition, Position]:
        """See `Admin`."""
        self._answer()
        return dict(self._broker.group(group).committed)

    async def close(self) -> None:
        """See `Admin`."""

    def _answer(self) -> None:
        if self._broker.unreachable:
            raise UnreachableError("the broker does not answer (injected)")

    def _existing(self, topic: str) -> TopicState:
        self._answer()
        if topic not in self._broker.states:
            raise UsageError(f"topic {topic!r} does not exist; `relayfleet topology apply` creates it")
        return self._broker.states[topic]


__all__ = ["MemoryAdmin", "MemoryBroker", "MemoryGroup", "MemoryPublisher", "MemorySubscription"]
