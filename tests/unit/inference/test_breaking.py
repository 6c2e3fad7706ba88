"""Instances that fail: taken out, tried again, and what becomes of the messages meanwhile."""

import asyncio
from dataclasses import replace

import pytest

from schemas import headers as h
from schemas.errors import ErrorClass
from tests.support import eventually
from tests.unit.inference.world import TARGET, World, envelope, once_key
from workers.backends.memory import ANSWER, MemoryBackend
from workers.core.clock import ManualClock
from workers.core.errors import MessageError, PermanentError, TransientError
from workers.core.metrics import Metrics
from workers.core.ports import Claimed
from workers.core.records import Outgoing
from workers.inference.pool import Pool, PoolRules, Seat, Slot, TurnedAwayError
from workers.inference.waiting import acquire
from workers.policies.balance import BalancePolicy
from workers.policies.breaker import BreakerPolicy

BROKEN = TransientError(ErrorClass.UPSTREAM_5XX, "broken")
QUICK = BreakerPolicy(min_calls=4, open_for=0.2, probes=2)
LONG = BreakerPolicy(min_calls=4, open_for=1000.0, probes=2)
FALLBACK = "model_requests.small"


def failing() -> MemoryBackend:
    return MemoryBackend("bad", BROKEN)


def value(metrics: Metrics, name: str, instance: str) -> float | None:
    return metrics.registry.get_sample_value(name, {"target": TARGET, "instance": instance})


async def test_an_instance_that_is_out_gets_no_call_and_the_others_answer_everything() -> None:
    bad, good = failing(), MemoryBackend("good")
    world = World(backends=[bad, good], rules=PoolRules(breaker=LONG))
    ids = [f"m{number}" for number in range(100)]
    async with world.running():
        world.send(*ids)
        await eventually(lambda: len(world.answered) == 100)
    assert sorted(world.answered) == sorted(ids)
    assert {response.status for response in world.responses} == {"ok"}
    assert 1 <= len(bad.calls) <= LONG.min_calls + world.concurrency


async def test_a_target_that_pauses_calls_nobody_burns_nothing_and_goes_on_by_itself() -> None:
    world = World(backends=[failing()], rules=PoolRules(breaker=QUICK))
    world.retry(attempts=100)
    async with world.running():
        world.send(*(f"m{number}" for number in range(30)))
        await eventually(lambda: len(world.backend.calls) >= QUICK.min_calls)
        assert world.answered == []
        world.backend.default = ANSWER
        await eventually(lambda: len(world.answered) == 30)
    assert world.dead_letters == []
    assert {response.status for response in world.responses} == {"ok"}


async def test_no_call_is_made_while_every_breaker_is_open() -> None:
    world = World(backends=[failing()], rules=PoolRules(breaker=LONG))
    world.retry(attempts=100)
    async with world.running():
        world.send(*(f"m{number}" for number in range(30)))
        metrics = world.metrics
        await eventually(lambda: value(metrics, "relayfleet_breaker_state", "bad") == 2)
        await eventually(lambda: world.backend.in_flight == 0)
        calls = len(world.backend.calls)
        world.send("late")
        await world.turns()
        assert len(world.backend.calls) == calls <= LONG.min_calls + world.concurrency
        world.backend.default = ANSWER
    assert world.answered == []


async def test_a_target_that_rejects_says_so_at_once_and_keeps_no_dead_letter() -> None:
    world = World(backends=[failing()], rules=PoolRules(breaker=LONG, waits=False))
    world.retry(attempts=100)
    async with world.running():
        world.send(*(f"m{number}" for number in range(30)))
        await eventually(lambda: len(world.answered) == 30)
    errors = [response.payload.error for response in world.responses]
    assert {error.code for error in errors if error is not None} == {ErrorClass.OVERLOADED}
    assert all(error is not None and error.retryable for error in errors)
    assert world.dead_letters == []
    assert world.committed_offset() == 30


async def test_a_target_that_falls_back_hands_messages_on_as_they_came() -> None:
    world = World(backends=[failing()], rules=PoolRules(breaker=LONG, waits=False))
    world.retry(attempts=100)
    world.target = replace(world.target, fallback=("small", "smallest"))
    async with world.running():
        sent = world.send(*(f"m{number}" for number in range(10)), key=b"k", headers=(("x", b"y"),))
        await eventually(lambda: len(world.broker.records(FALLBACK)) == 10)
        await eventually(lambda: world.committed_offset() == 10)
    handed = world.broker.records(FALLBACK)
    assert sorted(record.value or b"" for record in handed) == sorted(record.value or b"" for record in sent)
    for record in handed:
        assert record.key == b"k"
        assert h.get(record.headers, "x") == "y"
        assert h.get(record.headers, h.TARGET) == "small"
        assert h.get(record.headers, h.FALLBACK) == "smallest"
        assert h.get(record.headers, h.ATTEMPT) is None
        assert h.get_int(record.headers, h.RECEIVED_AT) is not None
    assert world.answered == []
    labels = {"target": TARGET, "fallback": "small"}
    assert world.metrics.registry.get_sample_value("relayfleet_rerouted_total", labels) == 10


async def test_a_target_whose_breakers_are_open_hands_on_to_its_tenants_targets_alone() -> None:
    world = World(backends=[failing()], rules=PoolRules(breaker=LONG, waits=False))
    world.retry(attempts=100)
    permits = {"acme": frozenset({TARGET, "smallest"})}
    world.target = replace(world.target, fallback=("small", "smallest"), permits=permits)
    async with world.running():
        world.send(*(f"m{number}" for number in range(10)), headers=((h.TENANT, b"acme"),))
        await eventually(lambda: world.committed_offset() == 10)
    assert len(world.broker.records("model_requests.smallest")) == 10
    assert world.broker.records(FALLBACK) == []


@pytest.mark.parametrize("fallback", [(), ("small",)])
async def test_a_message_that_is_turned_away_lets_go_of_its_id(fallback: tuple[str, ...]) -> None:
    world = World(backends=[failing()], rules=PoolRules(breaker=LONG, waits=False))
    world.target = replace(world.target, fallback=fallback)
    async with world.running():
        world.send(*(f"m{number}" for number in range(20)))
        await eventually(lambda: world.committed_offset() == 20)
        claims = [await world.outcomes.claim(once_key(f"m{number}")) for number in range(20)]
    assert all(isinstance(claim, Claimed) for claim in claims)


async def test_a_message_goes_on_to_the_next_fallback_of_the_target_it_came_from() -> None:
    world = World(backends=[failing()], rules=PoolRules(breaker=LONG, waits=False))
    async with world.running():
        headers = ((h.FALLBACK, b"small,smallest"), (h.ATTEMPT, b"3"))
        world.send(*(f"m{number}" for number in range(20)), headers=headers)
        await eventually(lambda: world.committed_offset() == 20)
    last = world.broker.records(FALLBACK)[-1]
    assert h.get(last.headers, h.FALLBACK) == "smallest"
    assert h.get(last.headers, h.ATTEMPT) is None


async def test_a_fallback_that_is_no_target_any_more_is_passed_over() -> None:
    world = World(backends=[failing()], rules=PoolRules(breaker=LONG, waits=False))
    world.target = replace(world.target, fallback=("smallest",))
    async with world.running():
        world.send(*(f"m{number}" for number in range(20)), headers=((h.FALLBACK, b"gone,,no/topic,small"),))
        await eventually(lambda: world.committed_offset() == 20)
    assert world.errors == []
    assert h.get(world.broker.records(FALLBACK)[-1].headers, h.FALLBACK) == "smallest"


async def test_a_retry_that_waits_for_an_open_breaker_ends_with_its_deadline() -> None:
    rules = PoolRules(breaker=BreakerPolicy(min_calls=1, open_for=1000.0))
    world = World(backends=[failing()], rules=rules, clock=ManualClock())  # no time passes before the wait
    world.retry(attempts=100)
    world.target = replace(world.target, expires_after=0.3)
    async with world.running():
        now = world.clock.wall()
        world.broker.append(Outgoing("model_requests.llm", None, envelope("m1", timestamp=now), partition=0))
        await eventually(lambda: world.answered == ["m1"])
    error = world.responses[0].payload.error
    assert error is not None
    assert error.code is ErrorClass.EXPIRED
    assert len(world.backend.calls) == 1


# The pool alone.


def pool(*backends: MemoryBackend, **rules: object) -> tuple[Pool, ManualClock, Metrics]:
    clock, metrics = ManualClock(), Metrics()
    seats = [Seat(backend, 10) for backend in backends]
    return Pool(TARGET, seats, metrics, PoolRules(**rules), clock), clock, metrics  # type: ignore[arg-type]  # a test's own names


async def one(instances: Pool, failure: MessageError | None, seconds: float = 0.1) -> None:
    instances.give_back(taken(instances), failure, seconds)


def has_room(instances: Pool) -> bool:
    return instances.room


def taken(instances: Pool) -> Slot:
    slot = instances.take(None)
    assert slot is not None
    return slot


async def test_half_open_lets_only_the_probes_through() -> None:
    instances, clock, metrics = pool(MemoryBackend("i"), breaker=LONG)
    for _ in range(4):
        await one(instances, BROKEN)
    assert not has_room(instances)
    assert instances.take(None) is None
    clock.advance(1000)
    probes = [taken(instances) for _ in range(2)]
    assert not has_room(instances)
    assert value(metrics, "relayfleet_breaker_state", "i") == 1
    instances.give_up(probes[0])
    assert has_room(instances)
    probes[0] = taken(instances)
    for probe in probes:
        instances.give_back(probe, None, 0.1)
    assert value(metrics, "relayfleet_breaker_state", "i") == 0
    await instances.close()


async def test_an_instance_that_returned_is_given_its_calls_little_by_little() -> None:
    instances, clock, metrics = pool(
        MemoryBackend("i"), breaker=LONG, balance=BalancePolicy(slow_start=100.0)
    )
    for _ in range(4):
        await one(instances, BROKEN)
    clock.advance(1000)
    for _ in range(2):
        await one(instances, None)
    capacities = []
    for _ in range(3):
        capacities.append(value(metrics, "relayfleet_call_limit", "i"))
        clock.advance(50)
    assert capacities == [1, 5, 10]
    await instances.close()


async def test_a_message_that_could_not_even_be_sent_says_nothing_about_the_instance() -> None:
    instances, clock, _ = pool(MemoryBackend("i"), breaker=LONG)
    for _ in range(4):
        await one(instances, BROKEN)
    clock.advance(1000)
    for _ in range(5):
        await one(instances, PermanentError(ErrorClass.SCHEMA, "no order_id"))
    assert _state(instances) == "half-open"
    for _ in range(2):
        await one(instances, PermanentError(ErrorClass.UPSTREAM_4XX, "refused"))
    assert _state(instances) == "closed"
    await instances.close()


def _state(instances: Pool) -> str:
    return instances._instances[0].breaker.state.label


async def test_somebody_notices_when_an_open_breaker_lets_calls_through_again() -> None:
    told = asyncio.Event()
    backend = MemoryBackend("i")
    instances = Pool(TARGET, [Seat(backend, 10)], Metrics(), PoolRules(breaker=QUICK))
    for _ in range(QUICK.min_calls - 1):
        await one(instances, BROKEN)
    instances.when_room(told.set)
    await one(instances, BROKEN)
    await asyncio.wait_for(told.wait(), 60)
    assert has_room(instances)
    await instances.close()


async def test_those_who_wait_are_turned_away_when_the_last_breaker_opens() -> None:
    instances, _, _ = pool(MemoryBackend("i"), breaker=BreakerPolicy(min_calls=1), waits=False)
    slots = [taken(instances) for _ in range(10)]
    waiting = asyncio.create_task(acquire(instances, None))
    await asyncio.sleep(0)
    instances.give_back(slots[0], BROKEN, 0.1)
    with pytest.raises(TurnedAwayError):
        _ = (await waiting).backend
    assert has_room(instances)
    await instances.close()


async def test_busy_instances_turn_nobody_away() -> None:
    instances, _, _ = pool(MemoryBackend("i"), breaker=LONG, waits=False)
    slots = [taken(instances) for _ in range(10)]
    assert not has_room(instances)
    assert instances.take(None) is None
    instances.give_back(slots[0], None, 0.1)
    assert has_room(instances)


async def test_an_adaptive_instance_gives_way_where_it_is_refused() -> None:
    metrics = Metrics()
    instances = Pool(TARGET, [Seat(MemoryBackend("i"), "adaptive")], metrics, PoolRules(), ManualClock())
    before = instances.capacity
    await one(instances, TransientError(ErrorClass.RATE_LIMITED, "later"))
    assert instances.capacity < before
    assert value(metrics, "relayfleet_call_limit", "i") == instances.capacity


async def test_a_session_stays_with_its_instance() -> None:
    rules = {"balance": BalancePolicy("session")}
    instances, _, _ = pool(*(MemoryBackend(f"i{number}") for number in range(4)), **rules)
    names = set()
    for _ in range(20):
        slot = instances.take(b"session")
        assert slot is not None
        names.add(slot.backend.name)
        instances.give_back(slot, None, 0.1)
    assert len(names) == 1
