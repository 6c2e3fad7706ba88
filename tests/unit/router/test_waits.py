"""Waits of a service that go on at once where they can."""

import asyncio
from collections.abc import AsyncIterator, Coroutine
from typing import Any

import pytest
from mode.threads import QueuedMethod

from tests.support import eventually
from workers.router.waits import Calls, Direct


class Waiting(Direct):
    """A service that does nothing but wait."""


@pytest.fixture
async def service() -> AsyncIterator[Waiting]:
    running = Waiting()
    await running.start()
    yield running
    await running.stop()


@pytest.fixture
def tasks() -> list[Coroutine[Any, Any, Any]]:
    """What became a task since the loop's factory was set by `counted`."""
    return []


def counted(tasks: list[Coroutine[Any, Any, Any]]) -> None:
    def make(loop: asyncio.AbstractEventLoop, coroutine: Any, **options: Any) -> asyncio.Task[Any]:
        tasks.append(coroutine)
        return asyncio.Task(coroutine, loop=loop, **options)

    asyncio.get_running_loop().set_task_factory(make)


async def said(text: str) -> str:
    return text


async def test_what_waits_for_nothing_takes_no_task(service: Waiting, tasks: list[Any]) -> None:
    never = asyncio.Event().wait()
    counted(tasks)
    found = await service.wait_first(said("done"), never)
    await service.sleep(0)
    assert (found.results, found.stopped, tasks) == (["done"], False, [])


async def test_what_waits_is_raced_with_the_others(service: Waiting) -> None:
    opened, ended = asyncio.Event(), []

    async def passing() -> str:
        try:
            await opened.wait()
            await asyncio.sleep(0)
            return "through"
        finally:
            ended.append(True)

    first = asyncio.create_task(service.wait_first(passing(), asyncio.Event().wait()))
    await asyncio.sleep(0)
    opened.set()
    assert (await first).results == ["through"]
    opened.clear()
    assert (await service.wait_first(passing(), said("earlier"))).results == ["earlier"]
    await eventually(lambda: ended == [True, True])


@pytest.mark.parametrize("turns", [0, 2])
async def test_an_error_is_raised_whether_it_waited_before_or_not(service: Waiting, turns: int) -> None:
    async def failing() -> None:
        for _ in range(turns):
            await asyncio.sleep(0)
        raise ValueError("wrong")

    with pytest.raises(ValueError, match="wrong"):
        await service.wait_first(failing(), asyncio.Event().wait())


async def test_a_wait_ends_with_its_service(service: Waiting) -> None:
    waiting = asyncio.create_task(service.wait_first(asyncio.Event().wait()))
    await asyncio.sleep(0)
    await service.stop()
    assert (await waiting).stopped
    assert (await service.wait_first(said("too late"))).stopped


async def test_sleeping_lasts_until_the_service_stops(service: Waiting) -> None:
    asleep = asyncio.create_task(service.sleep(3600))
    await asyncio.sleep(0)
    await service.stop()
    await asleep


async def test_a_future_that_waits_may_be_waited_for_by_others_at_once(service: Waiting) -> None:
    shared = asyncio.get_running_loop().create_future()

    async def waits() -> Any:
        return await shared

    first = asyncio.create_task(service.wait_first(waits()))
    second = asyncio.create_task(waits())
    await asyncio.sleep(0)
    shared.set_result("both")
    assert ((await first).results, await second) == (["both"], "both")


async def test_a_queue_that_stops_makes_the_calls_that_are_left() -> None:
    calls, begun, made = Calls(num_workers=1), asyncio.Event(), []
    await calls.start()

    async def call(name: str) -> str:
        begun.set()
        for _ in range(100 if name == "y" else 3):
            await asyncio.sleep(0)
        made.append(name)
        return name

    loop = asyncio.get_running_loop()
    promises = [loop.create_future() for _ in "wxy"]
    for name, promise in zip("wxy", promises, strict=True):
        calls._queue_put(QueuedMethod(promise, call, (name,), {}))
    await begun.wait()
    await calls.stop()
    assert await asyncio.gather(*promises) == ["w", "x", "y"]
    assert sorted(made) == ["w", "x", "y"]


async def test_calls_are_made_in_their_order_and_answered(tasks: list[Any]) -> None:
    calls = Calls(num_workers=1)
    await calls.start()
    counted(tasks)
    loop = asyncio.get_running_loop()
    promises = [loop.create_future() for _ in range(3)]
    for number, promise in enumerate(promises):
        calls._queue_put(QueuedMethod(promise, said, (str(number),), {}))
    assert await asyncio.gather(*promises) == ["0", "1", "2"]
    assert not tasks
    await calls.stop()
