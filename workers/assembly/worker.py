"""The workers of a process."""

from collections.abc import AsyncIterator, Callable, Collection, Sequence
from contextlib import asynccontextmanager
from dataclasses import replace
from itertools import chain
from typing import TYPE_CHECKING

from workers.assembly.board import open_board
from workers.assembly.kafka import located, open_admin, open_publisher, require_topics
from workers.assembly.stores import open_outcomes, open_sessions, open_shared
from workers.core.board import telling
from workers.core.clock import SystemClock
from workers.core.cluster import TopicSizes
from workers.core.errors import UsageError
from workers.core.events import EventLog
from workers.core.metrics import Metrics
from workers.core.settings import Settings
from workers.core.topology.live import LiveTopology
from workers.core.topology.model import KafkaTarget, Topology
from workers.core.topology.names import Names
from workers.kafka.consumer import KafkaSubscription
from workers.kafka.membership import SubscriptionPolicy
from workers.kafka.producer import KafkaPublisher, PublisherPolicy
from workers.kafka.reader import END, KafkaReader
from workers.kafka.security import client_config

if TYPE_CHECKING:
    from workers.backends.kafka import TopicPair
    from workers.inference.build import Fleet
    from workers.inference.service import WorkerService
    from workers.inference.worker import TargetWorker


@asynccontextmanager
async def open_worker(
    topology: Topology,
    settings: Settings,
    metrics: Metrics,
    *,
    kafka: str | None = None,
    targets: Sequence[str] = (),
    member: str | None = None,
    live: LiveTopology | None = None,
) -> AsyncIterator["WorkerService"]:
    """The workers of these targets (none: of all), not running yet; `member` makes the membership static.

    With `live`, which has the same topology, they follow that. Raises `UsageError` where a target is unknown, topics
    are missing, or a backend's settings could never work.
    """
    # Here and not above: every command imports this module, and these take a second.
    from workers.inference.build import Fleet
    from workers.inference.live import LiveWorkers, Outside
    from workers.inference.pipeline import Surroundings
    from workers.inference.service import WorkerService

    topology = located(topology, settings, kafka)
    names, clock = Names(topology), SystemClock()
    chosen = dict.fromkeys(targets or topology.targets)
    if unknown := [target for target in chosen if target not in topology.targets]:
        raise UsageError(f"no such target: {', '.join(unknown)}; there are {', '.join(topology.targets)}")
    await _require_topics_of(chosen, topology, settings)
    sizes = TopicSizes()
    async with (
        open_publisher(topology, settings, metrics=metrics, sizes=sizes) as publisher,
        open_outcomes(topology) as outcomes,
        open_sessions(topology) as sessions,
        open_shared(topology) as shared,
    ):
        around = Surroundings(clock, EventLog(publisher, names.logs, "worker", clock))
        fleet = Fleet(topology, publisher, outcomes, metrics, around, names, sessions, shared)
        make = worker_maker(fleet, member)
        service = WorkerService([make(topology, target)() for target in chosen], clock)
        if live is None:
            yield service
            return
        cluster, board = open_board(topology, settings, publisher)
        outside = Outside(names, make, sizes.follow, cluster, board)
        following = LiveWorkers(service, live, outside, everything=not targets)
        async with telling(cluster, board, following.state):
            yield service


async def _require_topics_of(targets: Collection[str], topology: Topology, settings: Settings) -> None:
    """What the workers of these targets read and write is there; raises as `require_topics`."""
    from workers.inference.build import group_topics

    names = Names(topology)
    read = chain.from_iterable(group_topics(topology, target) for target in targets)
    fallbacks = {names.target(other) for target in targets for other in topology.targets[target].fallback}
    written = [names.responses, names.chunks, names.dead_letters, names.logs, *fallbacks]
    async with open_admin(topology, settings) as admin:
        await require_topics(admin, [*written, *read])


def worker_maker(
    fleet: "Fleet", member: str | None
) -> Callable[[Topology, str], Callable[[], "TargetWorker"]]:
    """What opens a target's backends as a topology says, and gives what makes its worker."""
    from workers.backends.factory import open_backends
    from workers.inference.build import build_worker, group_topics

    def make(topology: Topology, target: str) -> Callable[[], "TargetWorker"]:
        opened = open_backends(target, topology.targets[target], fleet.around.clock, open_pair)

        def build() -> "TargetWorker":
            # The new protocol refuses a static member until its predecessor's session has ended.
            policy = SubscriptionPolicy(protocol="auto" if member is None else "classic", instance_id=member)
            subscription = KafkaSubscription(
                client_config(topology.kafka),
                fleet.names.worker_group(target),
                group_topics(topology, target),
                fleet.metrics,
                policy,
            )
            return build_worker(replace(fleet, topology=topology), target, subscription, opened)

        return build

    return make


def open_pair(target: KafkaTarget) -> "TopicPair":
    """Both ends of a `kafka` target's conversation; a question that is not delivered in a call's time is dropped."""
    from workers.backends.kafka import TopicPair

    config = client_config(target.kafka)
    policy = PublisherPolicy(delivery_timeout=target.timeout)
    return TopicPair(
        KafkaPublisher(config, Metrics(), policy),
        KafkaReader(config, [target.responses], END, min(target.timeout, 10.0)),
    )
