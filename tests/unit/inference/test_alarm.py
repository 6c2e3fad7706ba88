import asyncio

import pytest

from workers.inference.alarm import Alarm


async def wait_with(seconds: float, work: asyncio.Event) -> str:
    task = asyncio.current_task()
    assert task is not None
    alarm = Alarm(task, seconds)
    try:
        await work.wait()
    except asyncio.CancelledError:
        if alarm.rang():
            return "too late"
        raise
    finally:
        alarm.stop()
    return "done"


async def test_it_rings_and_the_task_goes_on() -> None:
    task = asyncio.create_task(wait_with(0.01, asyncio.Event()))
    assert await task == "too late"
    assert task.cancelling() == 0


async def test_a_time_that_has_passed_rings_at_the_first_wait() -> None:
    assert await asyncio.create_task(wait_with(-1.0, asyncio.Event())) == "too late"


async def test_it_is_silent_once_stopped() -> None:
    async def stopped_before_the_first_wait() -> str:
        task, later = asyncio.current_task(), asyncio.Event()
        assert task is not None
        Alarm(task, -1.0).stop()
        task.get_loop().call_later(0.01, later.set)  # rings after the alarm would have
        await later.wait()
        return "done"

    assert await asyncio.create_task(stopped_before_the_first_wait()) == "done"


async def test_who_was_done_in_time_is_left_alone() -> None:
    work = asyncio.Event()
    task = asyncio.create_task(wait_with(60.0, work))
    await asyncio.sleep(0)
    work.set()
    assert await task == "done"
    assert task.cancelling() == 0


async def test_somebody_elses_cancellation_is_not_taken_for_the_alarm() -> None:
    task = asyncio.create_task(wait_with(60.0, asyncio.Event()))
    await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task


async def test_a_cancellation_in_the_same_moment_wins() -> None:
    rung: list[Alarm] = []

    async def both() -> None:
        task = asyncio.current_task()
        assert task is not None
        rung.append(Alarm(task, 60.0))
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            assert not rung[0].rang()
            raise

    task = asyncio.create_task(both())
    await asyncio.sleep(0)
    rung[0]._ring()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
