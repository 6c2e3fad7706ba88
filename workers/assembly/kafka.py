"""The clients of Kafka: writing, reading, asking."""

from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager

import structlog

from workers.core.cluster import TopicSizes
from workers.core.deadlines import Deadline
from workers.core.errors import UnreachableError, UsageError
from workers.core.metrics import Metrics
from workers.core.ports import Admin, Publisher, Reader
from workers.core.records import TopicPartition
from workers.core.settings import Settings
from workers.core.topology.model import Topology
from workers.kafka.admin import KafkaAdmin
from workers.kafka.producer import KafkaPublisher, PublisherPolicy
from workers.kafka.reader import END, KafkaReader
from workers.kafka.security import client_config
from workers.local.broker import EmbeddedBroker

log = structlog.get_logger()

_FLUSH_SECONDS = 10.0
EMBEDDED = "embedded"


def located(topology: Topology, settings: Settings, override: str | None = None) -> Topology:
    """The topology with the address of its Kafka: `override`, else its own; `embedded` is asked where it listens.

    Raises `UnreachableError` when the embedded broker is wanted and does not run.
    """
    bootstrap = override or topology.kafka.bootstrap
    if bootstrap == EMBEDDED:
        running = EmbeddedBroker(settings.home).status().bootstrap
        if running is None:
            raise UnreachableError(
                "the embedded broker is not running: start the fleet with `relayfleet up`,"
                " or the broker alone with `relayfleet broker start`, or give --kafka HOST:PORT"
            )
        bootstrap = running
    return topology.model_copy(update={"kafka": topology.kafka.model_copy(update={"bootstrap": bootstrap})})


@asynccontextmanager
async def open_publisher(
    topology: Topology,
    settings: Settings,
    kafka: str | None = None,
    metrics: Metrics | None = None,
    sizes: TopicSizes | None = None,
) -> AsyncIterator[Publisher]:
    """A publisher that knows how large a record each topic takes; `sizes` is filled, and goes on counting when it changes."""
    sizes = TopicSizes() if sizes is None else sizes
    sizes.follow(topology)
    config = client_config(located(topology, settings, kafka).kafka)
    publisher = KafkaPublisher(config, metrics or Metrics(), PublisherPolicy(topic_max_bytes=sizes))
    try:
        yield publisher
    finally:
        if undelivered := await publisher.close(Deadline.after(_FLUSH_SECONDS)):
            log.error("records_undelivered", records=undelivered)


@asynccontextmanager
async def open_reader(
    topology: Topology,
    settings: Settings,
    kafka: str | None,
    topics: Sequence[str],
    *,
    start_at: str | int | Mapping[TopicPartition, int] = END,
) -> AsyncIterator[Reader]:
    """A reader of these topics, started; see `KafkaReader` for `start_at`."""
    reader = KafkaReader(client_config(located(topology, settings, kafka).kafka), topics, start_at)
    try:
        await reader.start()
        yield reader
    finally:
        await reader.close()


@asynccontextmanager
async def open_admin(
    topology: Topology, settings: Settings, kafka: str | None = None
) -> AsyncIterator[Admin]:
    """An admin client."""
    admin = KafkaAdmin(client_config(located(topology, settings, kafka).kafka))
    try:
        yield admin
    finally:
        await admin.close()


async def require_topics(admin: Admin, names: Sequence[str]) -> None:
    """Raise `UsageError` that names the topics that do not exist."""
    existing = await admin.topics(names)
    missing = sorted(set(names) - existing.keys())
    if missing:
        raise UsageError(
            f"topics are missing: {', '.join(missing)}; `relayfleet topology apply` creates them"
        )
