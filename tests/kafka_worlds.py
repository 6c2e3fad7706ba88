"""Kafka as the contract suites see it: the one in memory and the real one, behind the same few words."""

import asyncio
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from tests.support import consume, create_topic, eventually, unique
from workers.core.deadlines import Deadline
from workers.core.metrics import Metrics
from workers.core.ports import Admin, Publisher, Subscription
from workers.core.records import Position, Received, TopicPartition
from workers.kafka.admin import KafkaAdmin
from workers.kafka.consumer import KafkaSubscription
from workers.kafka.convert import received
from workers.kafka.membership import SubscriptionPolicy
from workers.kafka.memory import MemoryBroker
from workers.kafka.producer import KafkaPublisher, PublisherPolicy


@dataclass
class RecordingListener:
    """Keeps what it is told, in order; answers a revocation with `positions`."""

    positions: dict[TopicPartition, Position] = field(default_factory=dict)
    received: list[Received] = field(default_factory=list)
    owned: dict[TopicPartition, Position | None] = field(default_factory=dict)
    revocations: list[Sequence[TopicPartition]] = field(default_factory=list)
    losses: list[Sequence[TopicPartition]] = field(default_factory=list)
    failures: list[BaseException] = field(default_factory=list)
    trespassers: list[Received] = field(default_factory=list)
    assignments: Counter[TopicPartition] = field(default_factory=Counter)

    def records(self, batch: Sequence[Received]) -> None:
        self.received += batch
        self.trespassers += [
            record for record in batch if TopicPartition(record.topic, record.partition) not in self.owned
        ]

    def assigned(self, partitions: Mapping[TopicPartition, Position | None]) -> None:
        self.owned.update(partitions)
        self.assignments.update(partitions.keys())

    async def revoked(self, partitions: Sequence[TopicPartition]) -> Mapping[TopicPartition, Position]:
        self.revocations.append(partitions)
        await asyncio.sleep(0)
        for place in partitions:
            del self.owned[place]
        return {place: self.positions[place] for place in partitions if place in self.positions}

    def lost(self, partitions: Sequence[TopicPartition]) -> None:
        self.losses.append(partitions)
        for place in partitions:
            del self.owned[place]

    def failed(self, error: BaseException) -> None:
        self.failures.append(error)

    def values(self, partition: int | None = None) -> list[bytes | None]:
        """The values received so far, of one partition or all."""
        return [record.value for record in self.received if partition in {None, record.partition}]


class World(Protocol):
    """One Kafka."""

    def topic(self, partitions: int = 1) -> str:
        """A new topic."""

    def publisher(self, max_message_bytes: int = 1_048_588) -> Publisher:
        """A publisher; closed with the world."""

    def subscription(self, group: str, topics: Sequence[str]) -> Subscription:
        """A member of a group; closed with the world."""

    def admin(self) -> Admin:
        """An admin client."""

    async def records(self, topic: str, count: int) -> Sequence[Received]:
        """The first `count` records of a topic."""

    async def close(self) -> None:
        """Close what was opened."""


class MemoryWorld:
    """The Kafka in memory."""

    def __init__(self) -> None:
        self.broker = MemoryBroker()

    def topic(self, partitions: int = 1) -> str:
        name = unique("topic")
        self.broker.partitions = partitions
        self.broker.state(name)
        return name

    def publisher(self, max_message_bytes: int = 1_048_588) -> Publisher:
        return self.broker.publisher(max_message_bytes=max_message_bytes)

    def subscription(self, group: str, topics: Sequence[str]) -> Subscription:
        return self.broker.subscription(group, topics)

    def admin(self) -> Admin:
        return self.broker.admin()

    async def records(self, topic: str, count: int) -> Sequence[Received]:
        return await eventually(lambda: len(found := self.broker.records(topic)) >= count and found) or []

    async def close(self) -> None:
        pass


class KafkaWorld:
    """A real broker, or librdkafka's mock of one."""

    def __init__(self, bootstrap: str) -> None:
        self.bootstrap = bootstrap
        self.config: dict[str, object] = {"bootstrap.servers": bootstrap}
        self.metrics = Metrics()
        self._opened: list[KafkaPublisher | KafkaSubscription] = []

    def topic(self, partitions: int = 1) -> str:
        return create_topic(self.bootstrap, unique("topic"), partitions)

    def publisher(
        self, max_message_bytes: int = 1_048_588, policy: PublisherPolicy | None = None
    ) -> KafkaPublisher:
        policy = policy or PublisherPolicy(max_message_bytes=max_message_bytes)
        publisher = KafkaPublisher(self.config, self.metrics, policy)
        self._opened.append(publisher)
        return publisher

    def subscription(
        self, group: str, topics: Sequence[str], policy: SubscriptionPolicy | None = None
    ) -> KafkaSubscription:
        subscription = KafkaSubscription(self.config, group, topics, self.metrics, policy)
        self._opened.append(subscription)
        return subscription

    def admin(self) -> Admin:
        return KafkaAdmin(self.config, timeout=30)

    async def records(self, topic: str, count: int) -> Sequence[Received]:
        found = await asyncio.to_thread(consume, self.bootstrap, topic, count)
        return sorted(map(received, found), key=lambda record: (record.partition, record.offset))

    async def close(self) -> None:
        for opened in self._opened:
            await opened.close(Deadline.after(10))
