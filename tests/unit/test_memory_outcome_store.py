"""What needs a clock that the test moves."""

from workers.core.clock import ManualClock
from workers.core.ports import Busy, Claimed, Recorded
from workers.stores.memory import MemoryOutcomeStore


async def test_a_lease_outlives_no_crashed_worker() -> None:
    clock = ManualClock()
    store = MemoryOutcomeStore(window=60, lease=10, clock=clock)
    await store.claim("a")
    clock.advance(9)
    assert await store.claim("a") == Busy(1.0)
    clock.advance(1)
    assert await store.claim("a") == Claimed(2)


async def test_a_renewed_lease_lasts() -> None:
    clock = ManualClock()
    store = MemoryOutcomeStore(window=60, lease=10, clock=clock)
    await store.claim("a")
    clock.advance(9)
    assert await store.renew({"a": 1}) == frozenset()
    clock.advance(9)
    assert isinstance(await store.claim("a"), Busy)


async def test_an_outcome_is_forgotten_after_the_window() -> None:
    clock = ManualClock()
    store = MemoryOutcomeStore(window=60, lease=10, clock=clock)
    await store.claim("a")
    await store.record("a", 1, b"x")
    clock.advance(59)
    assert await store.claim("a") == Recorded(b"x")
    clock.advance(1)
    assert isinstance(await store.claim("a"), Claimed)


async def test_a_jumping_wall_clock_changes_nothing() -> None:
    clock = ManualClock()
    store = MemoryOutcomeStore(window=60, lease=10, clock=clock)
    await store.claim("a")
    clock.jump(3600)
    assert isinstance(await store.claim("a"), Busy)


async def test_memory_is_bounded() -> None:
    store = MemoryOutcomeStore(window=60, lease=10, limit=2)
    for key in "abc":
        await store.claim(key)
    assert isinstance(await store.claim("a"), Claimed)
    assert isinstance(await store.claim("c"), Busy)
