"""Waits of Faust's services without a task where nothing is waited for.

mode wraps everything that a service waits for in tasks, three or four a wait, and watches them with one more. At a few
messages an event that is a fifth of a router's CPU, most of it for what does not wait at all.
"""

import asyncio
import types
from collections.abc import Coroutine, Generator
from typing import Any, ClassVar, TypeVar

from mode import Service
from mode.services import WaitArgT, WaitResults
from mode.threads import MethodQueue, MethodQueueWorker
from mode.utils.times import Seconds, want_seconds

T = TypeVar("T")


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
        """See `Service`. The first one is begun here, and raced with the others only where it waits for something."""
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
        return await super().wait_first(_resume(first, awaited), *others, **options)


class _Caller(MethodQueueWorker):
    """Waits for the next call alone. mode's waits before it for an event that is set once and never cleared."""

    @Service.task
    async def _method_queue_do_work(self) -> None:
        queue = self.method_queue
        while not self.should_stop:
            call = await queue._queue.get()  # noqa: SLF001 - what the base does, too
            _ = await queue._process_enqueued(call)  # noqa: SLF001


class Calls(MethodQueue):
    """The calls into a service's thread."""

    Worker = _Caller


async def _resume(coroutine: Coroutine[Any, Any, T], awaited: Any) -> T:
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


def _close(others: list[WaitArgT]) -> None:
    for other in others:
        if isinstance(other, Coroutine):
            other.close()
