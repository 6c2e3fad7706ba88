"""Waiting for a future, and random ids: what every request needs, for a fraction of what asyncio and uuid cost."""

import asyncio
import os
from collections import deque
from functools import partial
from typing import Any

from workers.core.clock import LOOP_SLACK

_BYTES = 16
_AT_ONCE = 256


class Alarm:
    """Wakes futures a fixed number of seconds after they were set. One timer for all: one of its own costs more than all else of a wait."""

    def __init__(self, seconds: float) -> None:
        self.seconds = seconds
        self._set: deque[tuple[float, asyncio.Future[None]]] = deque()  # by when they are due
        self._timer: asyncio.TimerHandle | None = None

    def set(self, future: "asyncio.Future[None]") -> None:
        """Give this future its result in time, unless it is done by then."""
        loop = future.get_loop()
        self._set.append((loop.time() + self.seconds, future))
        if self._timer is None:
            self._timer = loop.call_later(self.seconds, self._ring, loop)

    def _ring(self, loop: asyncio.AbstractEventLoop) -> None:
        due = loop.time() + LOOP_SLACK
        while self._set and (self._set[0][0] <= due or self._set[0][1].done()):
            wake(self._set.popleft()[1])
        self._timer = loop.call_later(self._set[0][0] - due, self._ring, loop) if self._set else None


def wake(waiter: "asyncio.Future[None]", _: object = None) -> None:
    """Let whoever awaits this go on. Idempotent."""
    if not waiter.done():
        waiter.set_result(None)


async def done_within(future: "asyncio.Future[Any]", limit: Alarm | float | None) -> bool:
    """Wait up to `limit` (seconds, or an alarm; None: without end) for a future, which goes on whatever happens. Whether it is done."""
    if future.done():
        return True
    waiter: asyncio.Future[None] = asyncio.get_running_loop().create_future()
    woken = partial(wake, waiter)
    future.add_done_callback(woken)
    await wait_for_wake(waiter, limit)
    if not future.done():
        future.remove_done_callback(woken)
        return False
    return True


async def wait_for_wake(waiter: "asyncio.Future[None]", limit: Alarm | float | None) -> None:
    """Await a waiter, and wake it at the limit."""
    if limit is None:
        await waiter
    elif isinstance(limit, Alarm):
        limit.set(waiter)
        await waiter
    else:
        timer = waiter.get_loop().call_later(max(0.0, limit), wake, waiter)
        try:
            await waiter
        finally:
            timer.cancel()


class RandomIds:
    """Ids of 128 random bits as 32 hex digits. The system is asked for many at a time."""

    def __init__(self) -> None:
        self._bits = b""
        self._at = 0

    def __call__(self) -> str:
        """Another one."""
        if self._at == len(self._bits):
            self._bits, self._at = os.urandom(_BYTES * _AT_ONCE), 0
        self._at += _BYTES
        return self._bits[self._at - _BYTES : self._at].hex()


new_id = RandomIds()
