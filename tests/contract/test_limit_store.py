"""One suite for every store of limits: memory, and a real Redis."""

import asyncio
from collections.abc import AsyncIterator

import pytest

from tests.support import eventually
from workers.core.clock import SystemClock
from workers.core.errors import UnreachableError
from workers.core.ports import Draw, Drawn, LimitStore
from workers.stores.limits_memory import MemoryLimitStore
from workers.stores.limits_redis import RedisLimitStore

FREE = Drawn(0.0, None)
DAY = 86_400.0
SLOW = 0.00001  # a second: too little to fill anything up however long a test runs


@pytest.fixture(params=["memory", "redis"])
async def store(request: pytest.FixtureRequest) -> AsyncIterator[LimitStore]:
    opened: LimitStore
    if request.param == "memory":
        opened = MemoryLimitStore()
    else:
        opened = RedisLimitStore(
            request.getfixturevalue("redis_url"), timeout=60, prefix=f"{request.node.name}:"
        )
    yield opened
    await opened.close()


def bucket(amount: int, most: int = 10, rate: float = SLOW, key: str = "b") -> Draw:
    return Draw(key, amount, most, rate=rate)


def budget(amount: int, most: int = 100, key: str = "day") -> Draw:
    return Draw(key, amount, most, ends_at=SystemClock().wall() + DAY)


async def test_a_bucket_gives_what_it_holds_and_says_when_there_is_more(store: LimitStore) -> None:
    assert await store.take([bucket(4)]) == FREE
    assert await store.take([bucket(6)]) == FREE
    drawn = await store.take([bucket(1)])
    assert drawn.which == 0
    assert drawn.wait == pytest.approx(1 / SLOW, rel=0.01)


async def test_a_bucket_fills_up_again(store: LimitStore) -> None:
    full = [bucket(10, rate=200.0)]
    assert await store.take(full) == FREE

    async def waits() -> float:
        return (await store.take(full)).wait  # 0: it was full again by then, and is empty now

    wait = await eventually(waits)
    assert wait <= 10 / 200
    await asyncio.sleep(wait)  # what the store said
    assert await store.take(full) == FREE


async def test_of_a_hundred_at_once_no_more_get_through_than_fit(store: LimitStore) -> None:
    drawn = await asyncio.gather(*(store.take([bucket(1), budget(30)]) for _ in range(100)))
    assert sum(each == FREE for each in drawn) == 3
    assert {each.which for each in drawn} == {None, 1}


async def test_where_one_has_no_room_nothing_is_taken_from_the_others(store: LimitStore) -> None:
    assert await store.take([bucket(10, key="empty")]) == FREE
    assert (await store.take([bucket(10), bucket(1, key="empty")])).which == 1
    assert await store.take([bucket(10)]) == FREE


async def test_the_one_that_takes_longest_is_named(store: LimitStore) -> None:
    await store.take([bucket(10, rate=1.0, key="quick"), bucket(10, key="slow")])
    drawn = await store.take([bucket(5, rate=1.0, key="quick"), bucket(5, key="slow")])
    assert drawn.which == 1


async def test_looking_takes_nothing(store: LimitStore) -> None:
    for _ in range(3):
        assert await store.look([bucket(10), budget(100)]) == FREE
    assert await store.take([bucket(10), budget(100)]) == FREE
    assert (await store.look([bucket(1)])).which == 0
    assert (await store.look([budget(1)])).which == 0


async def test_what_is_larger_than_a_bucket_waits_until_it_is_full_and_is_paid_for_later(
    store: LimitStore,
) -> None:
    assert await store.take([bucket(25)]) == FREE
    drawn = await store.take([bucket(1)])
    assert drawn.wait == pytest.approx(16 / SLOW, rel=0.01)
    assert await store.take([budget(1000)]) == FREE
    assert (await store.take([budget(1)])).which == 0


async def test_what_was_estimated_too_high_is_given_back_and_never_more_than_it_holds(
    store: LimitStore,
) -> None:
    await store.take([bucket(10), budget(100)])
    await store.add([bucket(-4), budget(-40)])
    assert await store.take([bucket(4), budget(40)]) == FREE
    await store.add([bucket(-1000)])
    assert await store.take([bucket(10)]) == FREE
    assert (await store.take([bucket(1)])).which == 0


async def test_a_budget_lasts_until_its_end_and_the_next_day_has_its_own(store: LimitStore) -> None:
    assert await store.take([budget(100)]) == FREE
    drawn = await store.take([budget(1)])
    assert drawn.wait == pytest.approx(DAY, rel=0.01)
    assert await store.take([budget(100, key="tomorrow")]) == FREE


async def test_a_redis_that_is_not_there_is_said_with_its_address() -> None:
    store = RedisLimitStore("redis://user:CANARY@127.0.0.1:1/0", prefix="x:")
    with pytest.raises(UnreachableError, match=r"127\.0\.0\.1:1") as caught:
        await store.take([bucket(1)])
    assert "CANARY" not in str(caught.value)
    await store.close()


async def test_large_amounts_of_money_stay_exact(store: LimitStore) -> None:
    large = 2**52
    assert await store.take([budget(large, most=large + 1)]) == FREE
    assert await store.take([budget(1, most=large + 1)]) == FREE
    assert (await store.take([budget(1, most=large + 1)])).which == 0
