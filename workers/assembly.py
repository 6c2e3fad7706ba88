"""The composition root: which adapter stands behind which port, one function a thing that is opened."""

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import replace
from functools import partial
from itertools import chain
from typing import TYPE_CHECKING

import structlog

from schemas.fleet_state import FRESH_MS
from workers.core.board import Board, Standing, standing, telling
from workers.core.clock import SystemClock
from workers.core.cluster import Cluster, TopicSizes
from workers.core.deadlines import Deadline
from workers.core.errors import UnreachableError, UsageError
from workers.core.events import EventLog
from workers.core.metrics import Metrics
from workers.core.ports import Admin, OutcomeStore, Publisher, Reader, SessionStore
from workers.core.records import TopicPartition
from workers.core.settings import Settings
from workers.core.topology.live import LiveTopology
from workers.core.topology.model import KafkaTarget, Topology
from workers.core.topology.names import Names
from workers.kafka.admin import KafkaAdmin
from workers.kafka.consumer import KafkaSubscription
from workers.kafka.membership import SubscriptionPolicy
from workers.kafka.producer import KafkaPublisher, PublisherPolicy
from workers.kafka.reader import END, KafkaReader
from workers.kafka.security import client_config
from workers.local.broker import EmbeddedBroker
from workers.policies.route import needs_intents
from workers.stores.memory import MemoryOutcomeStore
from workers.stores.shared import SharedStores

if TYPE_CHECKING:
    from workers.backends.kafka import TopicPair
    from workers.inference.build import Fleet
    from workers.inference.service import WorkerService
    from workers.inference.worker import TargetWorker
    from workers.policies.intents import IntentModel
    from workers.router.service import RouterService

log = structlog.get_logger()

FLUSH_SECONDS = 10.0
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
                "the embedded broker is not running: `relayfleet broker start`, or give --kafka HOST:PORT"
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
        if undelivered := await publisher.close(Deadline.after(FLUSH_SECONDS)):
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


@asynccontextmanager
async def open_outcomes(topology: Topology) -> AsyncIterator[OutcomeStore]:
    """What the workers remember of answered messages: in Redis, else each worker by itself."""
    once, url = topology.once, topology.stores.redis
    store: OutcomeStore
    if url is None:
        log.warning(
            "outcomes_not_shared",
            why="no stores.redis",
            so="a repeated message is recognised by the worker that answered it alone",
        )
        store = MemoryOutcomeStore(window=once.window, lease=once.lease)
    else:
        from workers.stores.redis import RedisOutcomeStore

        store = RedisOutcomeStore(url.get_secret_value(), window=once.window, lease=once.lease)
    try:
        yield store
    finally:
        await store.close()


@asynccontextmanager
async def open_sessions(topology: Topology) -> AsyncIterator[SessionStore]:
    """What the workers remember of conversations: in Redis, else each worker by itself."""
    url = topology.stores.redis
    store: SessionStore
    if url is None:
        from workers.stores.sessions_memory import MemorySessionStore

        store = MemorySessionStore()
    else:
        from workers.stores.sessions_redis import RedisSessionStore

        store = RedisSessionStore(url.get_secret_value())
    try:
        yield store
    finally:
        await store.close()


@asynccontextmanager
async def open_shared(topology: Topology) -> AsyncIterator[SharedStores]:
    """What the workers share beside outcomes and conversations, opened when a target first needs it."""
    url = topology.stores.redis
    shared = SharedStores(None if url is None else url.get_secret_value())
    try:
        yield shared
    finally:
        await shared.close()


def open_classifier(topology: Topology, settings: Settings) -> "IntentModel | None":
    """What knows the topology's intents; None where no route asks for one."""
    return learned_intents(topology, settings) if needs_intents(topology) else None


def learned_intents(topology: Topology, settings: Settings) -> "IntentModel":
    """Learn the intents from their examples, which takes seconds; kept under `settings.home` for the next start."""
    # numpy and scikit-learn: nobody waits for their import who routes without intents, or has a model already.
    from workers.policies.intents import IntentModel
    from workers.policies.learn import fingerprint, learn
    from workers.stores.intent_models import read_arrays, write_arrays

    path = settings.home / "intents" / f"{fingerprint(topology.intents)}.npz"
    arrays = read_arrays(path)
    if arrays is not None:
        try:
            return IntentModel.from_arrays(arrays)
        except ValueError as error:
            log.warning("a learnt model is not used and is learnt again", path=str(path), error=str(error))
    model = learn(topology.intents)
    log.info("intents_learnt", intents=len(model.names))
    write_arrays(path, model.arrays())
    return model


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
    """A router, not running yet; see `GroupSettings` for `member`. Raises `UsageError` where topics are missing.

    With `live`, which has the same topology, it follows that.
    """
    # Faust takes half a second to import, and only this process needs it.
    from workers.router.app import GroupSettings
    from workers.router.live import LiveRouter, Outside
    from workers.router.service import RouterDeps, RouterService
    from workers.router.speeds import follow_speeds

    topology = located(topology, settings, kafka)
    names, clock = Names(topology), SystemClock()
    classifier = await asyncio.to_thread(open_classifier, topology, settings)
    async with open_admin(topology, settings) as admin:
        targets = [names.target(target) for target in topology.targets]
        await require_topics(
            admin, [names.requests, names.responses, names.dead_letters, names.logs, *targets]
        )
    sizes = TopicSizes()
    async with open_publisher(topology, settings, metrics=metrics, sizes=sizes) as publisher:
        events = EventLog(publisher, names.logs, "router", clock)
        deps = RouterDeps(topology, publisher, events, metrics, clock, classifier)
        group = GroupSettings(topology.kafka.bootstrap, names.requests, names.router_group, member)
        service = RouterService(deps, group)
        if live is None:
            yield service
            return
        cluster, board = open_board(topology, settings, publisher)
        outside = Outside(
            cluster.require,
            partial(open_classifier, settings=settings),
            sizes.follow,
            board,
            clock,
            deps.speeds,
        )
        following = LiveRouter(service, live, outside)
        measuring = asyncio.create_task(follow_speeds(board, deps.speeds, following.prefers), name="speeds")
        try:
            async with telling(cluster, board, following.state):
                yield service
        finally:
            measuring.cancel()
            await asyncio.gather(measuring, return_exceptions=True)


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
    from workers.inference.build import Fleet, group_topics
    from workers.inference.live import LiveWorkers, Outside
    from workers.inference.pipeline import Surroundings
    from workers.inference.service import WorkerService

    topology = located(topology, settings, kafka)
    names, clock = Names(topology), SystemClock()
    chosen = dict.fromkeys(targets or topology.targets)
    if unknown := [target for target in chosen if target not in topology.targets]:
        raise UsageError(f"no such target: {', '.join(unknown)}; there are {', '.join(topology.targets)}")
    read = {target: group_topics(topology, target) for target in chosen}
    async with open_admin(topology, settings) as admin:
        fallbacks = {names.target(other) for target in chosen for other in topology.targets[target].fallback}
        written = [names.responses, names.chunks, names.dead_letters, names.logs, *fallbacks]
        await require_topics(admin, [*written, *chain.from_iterable(read.values())])
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


def open_cluster(topology: Topology, settings: Settings, kafka: str | None = None) -> Cluster:
    """What a cluster is asked while something changes; opens nothing yet."""
    return Cluster(
        partial(open_admin, topology, settings, kafka),
        lambda topics, starts: open_reader(topology, settings, kafka, topics, start_at=starts),
        SystemClock(),
    )


def open_board(
    topology: Topology, settings: Settings, publisher: Publisher, kafka: str | None = None
) -> tuple[Cluster, Board]:
    """What the processes of a deployment say of themselves, and the cluster that they ask while something changes."""
    names, cluster = Names(topology), open_cluster(topology, settings, kafka)
    return cluster, Board(names.state, names.requests, publisher, partial(cluster.recent, names.state))


async def fleet_standing(topology: Topology, settings: Settings, kafka: str | None = None) -> Standing:
    """What the processes of this deployment said of themselves last. Raises `UnreachableError`, `NotYetError`."""
    names, cluster = Names(topology), open_cluster(topology, settings, kafka)
    return standing(await cluster.recent(names.state, FRESH_MS), names.requests)


async def require_topics(admin: Admin, names: Sequence[str]) -> None:
    """Raise `UsageError` that names the topics that do not exist."""
    existing = await admin.topics(names)
    missing = sorted(set(names) - existing.keys())
    if missing:
        raise UsageError(
            f"topics are missing: {', '.join(missing)}; `relayfleet topology apply` creates them"
        )
