"""One target's worker from the topology."""

from collections.abc import Sequence
from dataclasses import dataclass

from workers.backends.factory import OpenedBackend
from workers.core.metrics import Metrics
from workers.core.ports import OutcomeStore, Publisher, SessionBounds, SessionStore, Subscription
from workers.core.topology.delays import retry_delays
from workers.core.topology.model import OpenAITarget, Target, Topology
from workers.core.topology.names import Names
from workers.inference.admission import Admission
from workers.inference.cache_build import build_cache
from workers.inference.conversation import ConversationPolicy, Conversations
from workers.inference.fairness import Flows
from workers.inference.instance import PoolRules, Seat
from workers.inference.intake import IntakePolicy
from workers.inference.once import OncePerId, OncePolicy
from workers.inference.pipeline import Surroundings, TargetPolicy
from workers.inference.pool import Pool
from workers.inference.throttle import Limits
from workers.inference.worker import Ports, TargetSetup, TargetWorker
from workers.policies.balance import BalancePolicy
from workers.policies.breaker import BreakerPolicy
from workers.policies.cost import tariff_of
from workers.policies.fallback import fit_of
from workers.policies.permits import permits_of
from workers.policies.quota import quotas_of
from workers.policies.retry import RetryPolicy
from workers.policies.valve import ValvePolicy
from workers.stores.shared import SharedStores

# The window of a partition: room for the calls under way and for the next batch, within bounds of memory.
_WINDOW_PER_CALL = 8
_SMALLEST_WINDOW = 500
_LARGEST_WINDOW = 4000
_FAIR_WINDOW = 15_000  # what a tenant finds behind another's flood is what the window still holds


@dataclass(frozen=True, slots=True)
class Fleet:
    """What all targets of one process share."""

    topology: Topology
    publisher: Publisher
    outcomes: OutcomeStore
    metrics: Metrics
    around: Surroundings
    names: Names  # of all workers of the process, also those that started with an earlier topology
    sessions: SessionStore
    shared: SharedStores


def group_topics(topology: Topology, target: str) -> list[str]:
    """What a target's workers read: its topic and its delay topics."""
    names = Names(topology)
    return [
        names.target(target),
        *(names.retry(target, label) for label, _ in retry_delays(topology.targets[target])),
    ]


def seat(opened: OpenedBackend) -> Seat:
    """An opened backend's place in a pool."""
    return Seat(opened.backend, opened.concurrency, opened.weight)


def pool_rules(target: Target) -> PoolRules:
    """How the target's instances are chosen, taken out and brought back."""
    breaker = target.breaker
    return PoolRules(
        # An instance comes back as slowly as it would have been out.
        balance=BalancePolicy(target.balance, slow_start=breaker.open_for),
        breaker=BreakerPolicy(
            error_rate=breaker.error_rate,
            slow_call=breaker.slow_call,
            slow_rate=breaker.slow_rate,
            window=breaker.window,
            min_calls=breaker.min_calls,
            open_for=breaker.open_for,
            probes=breaker.probes,
        ),
        waits=breaker.when_open == "pause",
    )


def build_worker(
    fleet: Fleet, target: str, subscription: Subscription, backends: Sequence[OpenedBackend]
) -> TargetWorker:
    """A worker that is not started yet."""
    settings, names = fleet.topology.targets[target], fleet.names
    seats = [seat(opened) for opened in backends]
    pool = Pool(target, seats, fleet.metrics, pool_rules(settings), fleet.around.clock, fleet.around.rng)
    window = min(max(_WINDOW_PER_CALL * pool.capacity, _SMALLEST_WINDOW), _LARGEST_WINDOW)
    tenants = fleet.topology.tenants
    intake = IntakePolicy(
        delays={names.retry(target, label): seconds for label, seconds in retry_delays(settings)},
        ordered=settings.ordering == "key",
        flow_of=Flows(tenants).of if tenants else None,
        limits=Limits(window=_FAIR_WINDOW if tenants else window),
    )
    policy = target_policy(fleet.topology, target)
    once = OncePerId(target, fleet.outcomes, once_policy(fleet.topology), fleet.metrics)
    talks = conversations(fleet, target)
    cache = build_cache(fleet.topology, target, fleet.shared, fleet.metrics, fleet.around.clock)
    ports = Ports(
        subscription, fleet.publisher, pool, once, fleet.metrics, talks, cache, admission(fleet, target)
    )
    setup = TargetSetup(policy, intake, names, valve_policy(settings))
    return TargetWorker(setup, ports, fleet.around)


def target_policy(topology: Topology, target: str) -> TargetPolicy:
    """What the topology says about the target's messages."""
    settings = topology.targets[target]
    return TargetPolicy(
        target,
        settings.timeout,
        settings.expires_after,
        retry_policy(settings),
        fallback=settings.fallback.when_open if settings.breaker.when_open == "fallback" else (),
        chains=settings.fallback,
        fit=fit_of(topology, target),
        tariff=tariff_of(topology, target),
        permits=permits_of(topology),
    )


def conversations(fleet: Fleet, target: str) -> Conversations | None:
    """What the target remembers between the messages of a session."""
    settings = fleet.topology.targets[target]
    if not isinstance(settings, OpenAITarget) or settings.conversation is None:
        return None
    kept = settings.conversation
    bounds = SessionBounds(kept.turns, int(kept.max_bytes), kept.ttl)
    policy = ConversationPolicy(bounds, wait_for_store=kept.when_store_down == "pause")
    return Conversations(target, fleet.sessions, policy, fleet.metrics)


def admission(fleet: Fleet, target: str) -> Admission | None:
    """The limits and budgets that hold for the target's messages."""
    quotas = quotas_of(fleet.topology, target)
    if quotas is None:
        return None
    store = fleet.shared.limits(fleet.names.requests)
    retry = retry_policy(fleet.topology.targets[target])
    return Admission(target, quotas, store, retry, fleet.metrics, fleet.around.clock)


def once_policy(topology: Topology) -> OncePolicy:
    """How repeated messages are recognised."""
    return OncePolicy(topology.once.lease, wait_for_store=topology.once.when_store_down == "pause")


def valve_policy(target: Target) -> ValvePolicy:
    """When the target stops consuming."""
    return ValvePolicy(**target.valve.model_dump())


def retry_policy(target: Target) -> RetryPolicy:
    """The target's bounds and waits."""
    retry = target.retry
    return RetryPolicy(
        attempts=retry.attempts,
        initial=retry.initial,
        multiplier=retry.multiplier,
        max_wait=retry.max,
        jitter=retry.jitter == "full",
        hold_up_to=retry.hold_up_to,
        ladder=retry_delays(target),
        ordered=target.ordering == "key",
    )
