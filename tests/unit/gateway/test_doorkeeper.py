"""What the workers would refuse is refused before anything is produced."""

from dataclasses import replace
from typing import Any

import pytest

from schemas import headers as h
from schemas.errors import ErrorClass
from tests.unit.gateway.world import World
from tests.unit.topology.support import topology
from workers.core.clock import ManualClock
from workers.core.errors import UnreachableError
from workers.core.ports import Draw, Drawn
from workers.gateway.doorkeeper import Doorkeeper
from workers.gateway.question import Question
from workers.gateway.refusals import RefusalError
from workers.policies.quota import quotas_of
from workers.stores.limits_memory import MemoryLimitStore

CLOCK = ManualClock()
REQUESTS = Draw("tenant:acme:requests", 60, 60, rate=1.0)


def doorkeeper(store: MemoryLimitStore, **limits: Any) -> Doorkeeper:
    acme = {"limits": {"requests_per_minute": 60, **limits}}
    quotas = quotas_of(topology(tenants={"acme": acme, "other": {}}), None)
    assert quotas is not None
    return Doorkeeper(quotas, store, CLOCK)


async def test_who_has_used_everything_up_is_told_when_to_come_again() -> None:
    store = MemoryLimitStore(CLOCK)
    door = doorkeeper(store, exceeded="refuse")
    for _ in range(100):
        await door.check("acme")  # looking takes nothing
    await store.add([REQUESTS])
    with pytest.raises(RefusalError, match="your requests for this minute") as refused:
        await door.check("acme")
    assert refused.value.error_class is ErrorClass.RATE_LIMITED
    assert refused.value.retry_after == pytest.approx(1.0)
    await door.check("other")
    await door.check(None)
    CLOCK.advance(1)
    await door.check("acme")


async def test_who_waits_comes_in() -> None:
    store = MemoryLimitStore(CLOCK)
    await store.add([REQUESTS])
    await doorkeeper(store, exceeded="wait").check("acme")


class _Down(MemoryLimitStore):
    async def look(self, draws: Any) -> Drawn:
        """See `LimitStore`."""
        raise UnreachableError("the store is down")


async def test_with_the_store_away_everybody_comes_in() -> None:
    await doorkeeper(_Down(CLOCK), exceeded="refuse").check("acme")


def asked(tenant: str | None = None, cache_control: str | None = None) -> Question:
    return Question({"payload": {"text": "hi"}}, "client", tenant, cache_control=cache_control)


async def test_nothing_is_produced_for_a_tenant_that_has_used_up_its_limit(world: World) -> None:
    store = MemoryLimitStore(CLOCK)
    await store.add([REQUESTS])
    door = doorkeeper(store, exceeded="refuse")
    world.relay._deps = replace(world.relay._deps, doorkeeper=door)
    with pytest.raises(RefusalError, match="used up your requests") as refused:
        await world.relay.submit(asked("acme"))
    assert refused.value.status == 429
    assert world.requests() == []
    with await world.relay.submit(asked("other")):
        assert len(world.requests()) == 1


async def test_what_a_client_says_of_caches_goes_along(world: World) -> None:
    with await world.relay.submit(asked(cache_control="no-cache")):
        (record,) = world.requests()
    assert h.get(record.headers, h.CACHE_CONTROL) == "no-cache"
