"""Waits of Faust's services without a task where nothing is waited for.

mode makes a task of everything that a service waits for, three or four a wait, most of them for what does not wait at
all. At 1,000 messages a second, where an event is one or two of them, that was a twelfth of a router's CPU.
"""

import asyncio
import types
from collections.abc import Coroutine, Generator
from typing import Any, ClassVar, TypeVar

from mode import Service, get_logger
from mode.services import WaitArgT, WaitResults
from mode.threads import MethodQueue, MethodQueueWorker
from mode.utils.times import Seconds, want_seconds

T = TypeVar("T")

FAUST_LOGGER = get_logger("faust.relayfleet")
"""For our subclasses of Faust's services, which would else log its small talk under our own names."""


class Direct(Service):
    """A service that goes on at once where it can."""

    abstract: ClassVar[bool] = True

    async def sleep(self, n: Seconds) -> None:
        """See `Service`. Giving others a turn needs no timer."""
        if want_seconds(n) > 0:
            await super().sleep(n)
        else:
            await asyncio.sleep(0)

    async def wait_first(self, *coros: WaitArgT, **options: Any) -> WaitResults:
        """See `Service`. The first one is begun here, and raced with the others only where it waits for something.

        It may change its task on the way, so it must not ask for the one that it is in (`asyncio.timeout` does).
        """
        first, *others = coros
        if not isinstance(first, Coroutine) or self.should_stop:
            return await super().wait_first(*coros, **options)
        try:
            awaited = first.send(None)
        except BaseException as ended:
            _close(others)
            if isinstance(ended, StopIteration):
                return WaitResults([first], [ended.value], stopped=False)
            raise
        _mark_awaited(awaited, by_somebody=False)
        return await super().wait_first(_resume(first, awaited), *others, **options)


class _Caller(MethodQueueWorker):
    """Waits for the next call alone. mode's waits before it for an event that is set once and never cleared."""

    logger = FAUST_LOGGER

    @Service.task
    async def _method_queue_do_work(self) -> None:
        queue = self.method_queue
        take, make = queue._queue.get, queue._process_enqueued  # noqa: SLF001 - what the base does, too
        # One that stops makes what is left of the calls itself, and its workers must not take any.
        while not (self.should_stop or queue.should_stop):
            _ = await make(await take())


class Calls(MethodQueue):
    """The calls into a service's thread."""

    logger = FAUST_LOGGER
    Worker = _Caller


async def _resume(coroutine: Coroutine[Any, Any, T], awaited: Any) -> T:
    _mark_awaited(awaited, by_somebody=True)
    return await _rest(coroutine, awaited)


@types.coroutine
def _rest(coroutine: Coroutine[Any, Any, T], awaited: Any) -> Generator[Any, Any, T]:
    """What is left of a coroutine that was begun and has yielded `awaited`."""
    try:
        while True:
            try:
                sent = yield awaited
            except BaseException as thrown:  # noqa: BLE001 - whatever it is, it is the coroutine's
                awaited = coroutine.throw(thrown)
            else:
                awaited = coroutine.send(sent)
    except StopIteration as ended:
        result: T = ended.value
        return result


def _mark_awaited(awaited: Any, *, by_somebody: bool) -> None:
    """A future that was yielded says so until a task has taken it over, and none may begin to wait for it meanwhile."""
    if awaited is not None:
        awaited._asyncio_future_blocking = by_somebody  # noqa: SLF001 - the protocol between futures and tasks


def _close(others: list[WaitArgT]) -> None:
    for other in others:
        if isinstance(other, Coroutine):
            other.close()
