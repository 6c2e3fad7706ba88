"""Limits and budgets: what exceeds waits or is refused, burns nothing, and holds up nobody else."""

from dataclasses import replace
from decimal import Decimal
from typing import Any

import pytest

from schemas import headers as h
from schemas.errors import ErrorClass
from tests.support import eventually
from tests.unit.inference.world import TARGET, TOPIC, TOPOLOGY, World, envelope
from workers.backends.memory import MemoryBackend
from workers.core.clock import ManualClock, SystemClock
from workers.core.errors import PermanentError, UnreachableError
from workers.core.ports import Answer, Draw, Drawn, LimitStore, Usage
from workers.core.records import Outgoing
from workers.core.topology.limits import Budget, Limits
from workers.inference.admission import Admission
from workers.policies.cost import Tariff
from workers.policies.quota import Quota, Quotas
from workers.stores.limits_memory import MemoryLimitStore

TARIFF = Tariff(Decimal("0.001"), Decimal("0.001"), "EUR")
MANY = 1_000_000


@pytest.fixture
def world() -> World:
    """Its time stands still: what a limit gives back is the test's affair, and no day ends."""
    return World(clock=ManualClock())


def quota(name: str, scope: str = "tenant", budget: Budget | None = None, **limits: Any) -> Quota:
    return Quota(scope, name, Limits(**limits) if limits else None, budget)


def limited(world: World, *quotas: Quota, store: LimitStore | None = None) -> MemoryLimitStore | LimitStore:
    used = store or MemoryLimitStore(world.clock)
    own = next((each for each in quotas if each.scope == "target"), None)
    tenants = {each.name: each for each in quotas if each.scope == "tenant"}
    target = TOPOLOGY.targets[TARGET]
    found = Quotas(target, TARIFF, own, tenants)
    world.admission = lambda: Admission(TARGET, found, used, world.target.retry, world.metrics, world.clock)
    world.target = replace(world.target, tariff=TARIFF)
    return used


def ask(world: World, message_id: str, tenant: str | None = None, **fields: Any) -> None:
    headers = () if tenant is None else ((h.TENANT, tenant.encode()),)
    world.broker.append(Outgoing(TOPIC, None, envelope(message_id, **fields), headers, partition=0))


async def test_what_exceeds_is_refused_at_once_where_the_topology_says_so(world: World) -> None:
    limited(world, quota("acme", requests_per_minute=2, exceeded="refuse"))
    async with world.running():
        for number in range(5):
            ask(world, f"a{number}", "acme")
            ask(world, f"o{number}", "other")
        await eventually(lambda: len(world.answered) == 10)
    refused = [response for response in world.responses if response.payload.error is not None]
    assert [response.message_id for response in refused] == ["a2", "a3", "a4"]
    errors = [response.payload.error for response in refused]
    assert {error.code for error in errors if error} == {ErrorClass.RATE_LIMITED}
    assert all(error and error.retryable and 0 < (error.retry_after or 0) <= 30 for error in errors)
    assert world.dead_letters == []
    assert len(world.backend.calls) == 7


async def test_what_exceeds_waits_its_turn_and_burns_no_attempt(world: World) -> None:
    sleeps: list[float] = []

    async def sleep(seconds: float) -> None:
        sleeps.append(seconds)
        await store.add([Draw("tenant:acme:requests", -1, 2, rate=2 / 60)])  # as if that time had passed

    world.sleep = sleep
    store = MemoryLimitStore(world.clock)
    limited(world, quota("acme", requests_per_minute=2), store=store)
    async with world.running():
        for number in range(6):
            ask(world, f"a{number}", "acme")
        await eventually(lambda: len(world.answered) == 6)
    assert world.answered == [f"a{number}" for number in range(6)]
    assert {response.status for response in world.responses} == {"ok"}
    assert {response.route.attempts for response in world.responses} == {1}
    assert len(sleeps) == 4
    assert all(0 < seconds <= 30 for seconds in sleeps)


async def test_a_tenants_long_wait_goes_through_the_delay_topic_and_holds_up_nobody() -> None:
    world = World(concurrency=1, clock=ManualClock())
    world.retry(hold_up_to=1.0, ladder=(("10s", 10.0), ("1m", 60.0)))
    limited(world, quota("acme", requests_per_minute=2))
    async with world.running():
        for number in range(5):
            ask(world, f"a{number}", "acme")
        ask(world, "o", "other")
        await eventually(lambda: world.committed_offset() == 6)
    assert sorted(world.answered) == ["a0", "a1", "o"]
    later = world.broker.records(f"{TOPIC}.retry.1m")
    assert [h.get(record.headers, h.MESSAGE_ID) for record in later] == ["a2", "a3", "a4"]
    assert {h.get(record.headers, h.ATTEMPT) for record in later} == {"0"}
    assert {h.get(record.headers, h.DEFERRALS) for record in later} == {"0"}


async def test_what_waits_for_too_long_ends_with_its_reason(world: World) -> None:
    world.retry(hold_up_to=1.0, ladder=(("10s", 10.0),))
    limited(world, quota("acme", requests_per_minute=1))
    long_ago = str(round((world.clock.wall() - 2 * 86_400) * 1000)).encode()
    async with world.running():
        ask(world, "a", "acme")
        headers = ((h.TENANT, b"acme"), (h.FIRST_FAILED_AT, long_ago))
        world.broker.append(Outgoing(TOPIC, None, envelope("b"), headers, partition=0))
        await eventually(lambda: world.answered == ["a", "b"])
    error = world.responses[1].payload.error
    assert error is not None
    assert (error.code, error.reason) == (
        ErrorClass.RATE_LIMITED,
        "its tenant has used up its requests for this minute",
    )
    assert len(world.dead_letters) == 1


async def test_a_spent_budget_refuses_and_what_was_really_spent_counts(world: World) -> None:
    world.backend.default = Answer("yes", usage=Usage(400, 100, 500))
    budget = Budget(per_day=Decimal("1.2"), exceeded="refuse")
    limited(world, quota("llm", "target", budget))
    async with world.running():
        for number in range(4):
            ask(world, f"m{number}")
            await eventually(lambda number=number: len(world.answered) == number + 1)  # type: ignore[misc]  # its own number
    said = [response.payload.error and response.payload.error.reason for response in world.responses]
    assert said == [None, None, "llm has used up its money for today", "llm has used up its money for today"]


async def test_a_call_that_failed_gives_back_what_it_did_not_use() -> None:
    world, store = World(), MemoryLimitStore(ManualClock())  # calls take their time, and nothing fills up
    world.backend.default = PermanentError(ErrorClass.UPSTREAM_4XX, "no")
    limited(world, quota("acme", requests_per_minute=100, tokens_per_minute=2000), store=store)
    async with world.running():
        for number in range(10):  # 260 tokens each, as estimated
            ask(world, f"m{number}", "acme")
        await eventually(lambda: len(world.answered) == 10)
    assert len(world.backend.calls) == 10
    everything = [Draw("tenant:acme:tokens", 2000, 2000, rate=2000 / 60)]
    assert await store.look(everything) == Drawn(0.0, None)
    requests = [Draw("tenant:acme:requests", 100, 100, rate=100 / 60)]
    assert (await store.look(requests)).which == 0


async def test_a_target_without_room_pauses_its_partition_and_loses_nothing() -> None:
    slept = 0

    async def sleep(_: float) -> None:
        nonlocal slept
        slept += 1
        await eventually(lambda: bool(paused))
        await store.add([Draw("target:llm:requests", -MANY, 1, rate=1 / 60)])

    world, paused = World(sleep=sleep, clock=ManualClock()), list[bool]()
    store = MemoryLimitStore(world.clock)
    world.limits(window=10)
    limited(world, quota("llm", "target", requests_per_minute=1), store=store)
    async with world.running() as subscription:
        for number in range(30):
            ask(world, f"m{number}")
        await eventually(lambda: subscription.paused != set())
        assert len(world.answered) <= 1
        paused.append(True)
        await eventually(lambda: len(world.answered) == 30)
    assert slept >= 20
    assert len(world.backend.calls) == 30


async def test_a_message_whose_deadline_passes_in_line_expires() -> None:
    world = World()
    limited(world, quota("llm", "target", requests_per_minute=1))
    async with world.running():
        ask(world, "a")
        await eventually(lambda: world.answered == ["a"])
        soon = str(round((SystemClock().wall() + 0.2) * 1000)).encode()
        for name in ("b", "c"):
            world.broker.append(Outgoing(TOPIC, None, envelope(name), ((h.DEADLINE, soon),), partition=0))
        await eventually(lambda: len(world.answered) == 3)
    codes = [response.payload.error.code for response in world.responses if response.payload.error]
    assert codes == [ErrorClass.EXPIRED] * 2
    assert world.dead_letters == []


async def test_messages_in_line_go_at_once_when_their_partition_goes(world: World) -> None:
    limited(world, quota("llm", "target", requests_per_minute=1))
    async with world.running():
        for number in range(5):
            ask(world, f"m{number}")
        await eventually(lambda: len(world.answered) == 1)
    assert world.committed_offset() == 1


class _Down(MemoryLimitStore):
    async def take(self, draws: Any) -> Drawn:
        """See `LimitStore`."""
        raise UnreachableError("the store is down")

    async def add(self, draws: Any) -> None:
        """See `LimitStore`."""
        raise UnreachableError("the store is down")


async def test_with_the_store_down_nothing_is_held_up(world: World) -> None:
    limited(world, quota("llm", "target", requests_per_minute=1), store=_Down())
    world.backends = [MemoryBackend(default=Answer("yes", usage=Usage(1, 1, 2)))]
    async with world.running():
        for number in range(5):
            ask(world, f"m{number}")
        await eventually(lambda: len(world.answered) == 5)
    failures = world.metrics.registry.get_sample_value("relayfleet_store_failures_total", {"target": TARGET})
    assert failures is not None
    assert failures >= 5


@pytest.mark.parametrize("result", ["waited", "refused"])
async def test_what_was_limited_is_counted(world: World, result: str) -> None:
    world.retry(hold_up_to=0.0, ladder=(("1m", 60.0),))
    exceeded = "wait" if result == "waited" else "refuse"
    limited(world, quota("acme", requests_per_minute=1, exceeded=exceeded))
    async with world.running():
        for number in range(3):
            ask(world, f"m{number}", "acme")
        await eventually(lambda: world.committed_offset() == 3)
    labels = {"target": TARGET, "scope": "tenant", "kind": "requests", "result": result}
    assert world.metrics.registry.get_sample_value("relayfleet_limited_total", labels) == 2
