"""The router."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial
from typing import TYPE_CHECKING

from workers.assembly.board import open_board
from workers.assembly.intents import open_classifier
from workers.assembly.kafka import located, open_admin, open_publisher, require_topics
from workers.core.board import telling
from workers.core.clock import SystemClock
from workers.core.cluster import TopicSizes
from workers.core.events import EventLog
from workers.core.metrics import Metrics
from workers.core.settings import Settings
from workers.core.topology.live import LiveTopology
from workers.core.topology.model import Topology
from workers.core.topology.names import Names
from workers.kafka.consumer import KafkaSubscription
from workers.kafka.membership import SubscriptionPolicy
from workers.kafka.security import client_config

if TYPE_CHECKING:
    from workers.router.service import RouterDeps, RouterService

# How long the messages of a partition that was added wait for being noticed; by default 5 minutes.
_NEW_PARTITIONS = {"topic.metadata.refresh.interval.ms": 10_000}


@asynccontextmanager
async def open_router(
    topology: Topology,
    settings: Settings,
    metrics: Metrics,
    *,
    kafka: str | None = None,
    member: str | None = None,
    live: LiveTopology | None = None,
) -> AsyncIterator["RouterService"]:
    """A router, not running yet. Raises `UsageError` where topics are missing.

    With `member` (unique in the group and the same after a restart) a restarted router has its partitions back at once
    instead of when the old session ends. With `live`, which has the same topology, it follows that.
    """
    # Faust takes half a second to import, and only this process needs it.
    from workers.router.service import GroupNames, RouterDeps, RouterService

    topology = located(topology, settings, kafka)
    names, clock, sizes = Names(topology), SystemClock(), TopicSizes()
    classifier = await asyncio.to_thread(open_classifier, topology, settings)
    async with (
        open_admin(topology, settings) as admin,
        open_publisher(topology, settings, metrics=metrics, sizes=sizes) as publisher,
    ):
        targets = [names.target(target) for target in topology.targets]
        await require_topics(
            admin, [names.requests, names.responses, names.dead_letters, names.logs, *targets]
        )
        subscription = KafkaSubscription(
            {**client_config(topology.kafka), **_NEW_PARTITIONS},
            names.router_group,
            [names.requests],
            metrics,
            _membership(member),
        )
        events = EventLog(publisher, names.logs, "router", clock)
        deps = RouterDeps(topology, publisher, subscription, admin, events, metrics, clock, classifier)
        service = RouterService(deps, GroupNames(names.requests, names.router_group))
        if live is None:
            yield service
            return
        async with _following(service, deps, live, settings, sizes):
            yield service


def _membership(member: str | None) -> SubscriptionPolicy:
    """The classic protocol: with it a killed router's partitions are others' after ten seconds whatever the broker says,
    a router that gets none hears of it and is ready, and a static member that comes back is let in at once.

    A static member's session outlives a restart of the broker: one that has to join anew under its name while a commit is
    under way is fenced by itself, which ends the client.
    """
    session = 10.0 if member is None else 45.0
    return SubscriptionPolicy(protocol="classic", instance_id=member, session_timeout=session)


@asynccontextmanager
async def _following(
    service: "RouterService", deps: "RouterDeps", live: LiveTopology, settings: Settings, sizes: TopicSizes
) -> AsyncIterator[None]:
    """The router follows the topology, and the board knows how it stands."""
    from workers.router.live import LiveRouter, Outside
    from workers.router.speeds import follow_speeds

    cluster, board = open_board(deps.topology, settings, deps.publisher)
    outside = Outside(
        cluster.require,
        partial(open_classifier, settings=settings),
        sizes.follow,
        board,
        deps.clock,
        deps.speeds,
    )
    following = LiveRouter(service, live, outside)
    measuring = asyncio.create_task(follow_speeds(board, deps.speeds, following.prefers), name="speeds")
    try:
        async with telling(cluster, board, following.state):
            yield
    finally:
        measuring.cancel()
        await asyncio.gather(measuring, return_exceptions=True)
