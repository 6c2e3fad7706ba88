import asyncio

import pytest

from schemas.errors import ErrorClass
from workers.backends.memory import MemoryBackend
from workers.core.errors import TransientError
from workers.core.metrics import Metrics
from workers.inference.pool import Pool, Seat
from workers.inference.waiting import acquire


def pool(*concurrency: int) -> Pool:
    return Pool(
        "llm", [Seat(MemoryBackend(f"i{n}"), limit) for n, limit in enumerate(concurrency)], Metrics()
    )


def test_the_least_busy_instance_is_next_and_none_beyond_its_concurrency() -> None:
    both = pool(1, 3)
    names = []
    while both.room:
        slot = both.take(None)
        assert slot is not None
        names.append(slot.backend.name)
    assert sorted(names) == ["i0", "i1", "i1", "i1"]
    assert both.take(None) is None


async def test_the_one_to_avoid_is_taken_where_there_is_no_other() -> None:
    two = pool(1, 1)
    assert (await acquire(two, None, avoid="i0")).backend.name == "i1"
    assert (await acquire(two, None, avoid="i1")).backend.name == "i0"


async def test_who_waits_for_another_attempt_comes_before_new_messages() -> None:
    one, told = pool(1), []
    one.when_room(lambda: told.append(one.room))
    slot = one.take(None)
    assert slot is not None
    waiting = asyncio.create_task(acquire(one, None))
    await asyncio.sleep(0)
    one.give_back(slot, TransientError(ErrorClass.TIMEOUT, "slow"), 1.0)
    assert told == []
    one.give_back(await waiting, None, 1.0)
    assert told == [True]


@pytest.mark.parametrize("given_back_first", [False, True])
async def test_a_cancelled_wait_loses_no_slot(given_back_first: bool) -> None:
    one = pool(1)
    slot = one.take(None)
    assert slot is not None
    waiting = asyncio.create_task(acquire(one, None))
    await asyncio.sleep(0)
    if given_back_first:
        one.give_up(slot)
    waiting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiting
    if not given_back_first:
        one.give_up(slot)
    assert one.room
    assert one.calls == 0
