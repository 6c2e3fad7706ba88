"""The composition root of the gateway."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import structlog

from workers.assembly import located, open_admin, open_shared, require_topics
from workers.core.clock import SystemClock
from workers.core.cluster import TopicSizes
from workers.core.deadlines import Deadline
from workers.core.metrics import Metrics
from workers.core.ports import AnswerStore, Publisher
from workers.core.settings import Settings
from workers.core.topology.live import LiveTopology
from workers.core.topology.model import Topology
from workers.core.topology.names import Names
from workers.gateway.build import GatewayPorts, Listening, build_gateway
from workers.gateway.service import GatewayService
from workers.gateway.together import Together
from workers.kafka.consumer import KafkaSubscription
from workers.kafka.membership import SubscriptionPolicy
from workers.kafka.producer import KafkaPublisher, PublisherPolicy
from workers.kafka.security import client_config
from workers.stores.answers_memory import MemoryAnswerStore

log = structlog.get_logger()

_FLUSH_SECONDS = 2.0


@dataclass(frozen=True, slots=True)
class Where:
    """Where the gateway is and what it talks to: what the command line says, None what the topology says.

    `directory` is the topology's; `member` makes the membership static.
    """

    directory: Path
    host: str | None = None
    port: int | None = None
    grpc_port: int | None = None
    kafka: str | None = None
    member: str | None = None


@asynccontextmanager
async def open_gateway(
    topology: Topology,
    settings: Settings,
    metrics: Metrics,
    where: Where,
    live: LiveTopology | None = None,
) -> AsyncIterator[GatewayService]:
    """A gateway, not running yet; with `live`, which has the same topology, it follows that. Raises `UsageError` where topics are missing or its settings can't be used."""
    topology = located(topology, settings, where.kafka)
    names, gateway = Names(topology), topology.gateway
    listening = Listening(
        where.host or gateway.host or settings.listen,
        gateway.port if where.port is None else where.port,
        gateway.grpc_port if where.grpc_port is None else where.grpc_port,
        where.directory,
    )
    async with (
        open_admin(topology, settings) as admin,
        _open_publisher(topology, metrics) as publisher,
        open_answers(topology) as store,
        open_shared(topology) as shared,
    ):
        await require_topics(admin, [names.requests, names.responses, names.chunks])
        config = client_config(topology.kafka)
        policy = SubscriptionPolicy(
            protocol="auto" if where.member is None else "classic",
            start_at="latest",
            instance_id=where.member,
        )
        subscription = Together(
            {
                topic: KafkaSubscription(config, names.gateway_group(kind), [topic], metrics, policy)
                for kind, topic in (("responses", names.responses), ("chunks", names.chunks))
            }
        )
        limits = partial(shared.limits, names.requests)
        ports = GatewayPorts(publisher, subscription, admin, store, metrics, SystemClock(), limits)
        yield await build_gateway(topology, ports, listening, live)


@asynccontextmanager
async def open_answers(topology: Topology) -> AsyncIterator[AnswerStore]:
    """Where gateways keep the answers that they read: in Redis, else each by itself."""
    answers, url = topology.gateway.answers, topology.stores.redis
    store: AnswerStore
    if url is None:
        log.warning(
            "answers_not_shared",
            why="no stores.redis",
            so="an answer is found at the gateway that read it alone, and until it stops",
        )
        store = MemoryAnswerStore(keep=answers.keep, size=answers.size)
    else:
        from workers.stores.answers_redis import RedisAnswerStore

        store = RedisAnswerStore(url.get_secret_value(), keep=answers.keep, size=answers.size)
    try:
        yield store
    finally:
        await store.close()


@asynccontextmanager
async def _open_publisher(topology: Topology, metrics: Metrics) -> AsyncIterator[Publisher]:
    """One that gives up what is not delivered by when its client was told so."""
    sizes = TopicSizes()
    sizes.follow(topology)
    policy = PublisherPolicy(topic_max_bytes=sizes, delivery_timeout=topology.gateway.confirm)
    publisher = KafkaPublisher(client_config(topology.kafka), metrics, policy)
    try:
        yield publisher
    finally:
        await publisher.close(Deadline.after(_FLUSH_SECONDS))
