"""Waiting for a future, and random ids: what every request needs, for a fraction of what asyncio and uuid cost."""

import asyncio
import os
from typing import Any

_BYTES = 16
_AT_ONCE = 256


async def done_within(future: "asyncio.Future[Any]", seconds: float | None) -> bool:
    """Wait up to `seconds` (None: without end) for a future, which goes on whatever happens. Whether it is done."""
    if future.done():
        return True
    waiter: asyncio.Future[None] = (loop := asyncio.get_running_loop()).create_future()

    def wake(_: object = None) -> None:
        if not waiter.done():
            waiter.set_result(None)

    timer = None if seconds is None else loop.call_later(max(0.0, seconds), wake)
    future.add_done_callback(wake)
    try:
        await waiter
    finally:
        if timer is not None:
            timer.cancel()
        future.remove_done_callback(wake)
    return future.done()


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
