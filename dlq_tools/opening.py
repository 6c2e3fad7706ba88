"""Opens what the commands that change something work with."""

from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager

from dlq_tools.ledger import Ledger, operator
from dlq_tools.surroundings import Surroundings
from workers import assembly
from workers.core.clock import SystemClock
from workers.core.ports import Admin, Reader
from workers.core.records import TopicPartition
from workers.core.settings import Settings
from workers.core.topology.model import Topology
from workers.core.topology.names import Names
from workers.core.topology.topics import wanted_topics
from workers.kafka.reader import BEGINNING
from workers.kafka.sizes import DEFAULT_MAX_BYTES


@asynccontextmanager
async def open_surroundings(
    topology: Topology, settings: Settings, kafka: str | None
) -> AsyncIterator[Surroundings]:
    """Kafka and the ledger, read to its end. Raises `UsageError` where the ledger's topic is missing."""
    topology, clock = assembly.located(topology, settings, kafka), SystemClock()
    topic = Names(topology).ledger

    @asynccontextmanager
    async def open_reader(
        topics: Sequence[str], start_at: Mapping[TopicPartition, int]
    ) -> AsyncIterator[Reader]:
        async with assembly.open_reader(topology, settings, None, topics, start_at=start_at) as reader:
            yield reader

    async with assembly.open_admin(topology, settings) as admin:
        await assembly.require_topics(admin, [topic])
        async with (
            assembly.open_publisher(topology, settings) as publisher,
            assembly.open_reader(topology, settings, None, [topic], start_at=BEGINNING) as reader,
        ):
            ledger = Ledger(topic, publisher, reader, clock, operator(settings))
            await ledger.load()
            yield Surroundings(ledger, publisher, admin, open_reader, clock)


async def topic_limits(admin: Admin, topology: Topology) -> dict[str, int]:
    """The bytes that a record may have, for every topic of the cluster: what it takes, and what we would produce."""
    ours = {topic.name: int(topic.config["max.message.bytes"]) for topic in wanted_topics(topology)}
    existing = await admin.topics()
    return {
        name: min(
            int(state.config.get("max.message.bytes", DEFAULT_MAX_BYTES)), ours.get(name, DEFAULT_MAX_BYTES)
        )
        for name, state in existing.items()
    }
