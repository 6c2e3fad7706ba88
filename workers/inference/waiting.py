"""What the worker's compiled modules wait for: they have no coroutines of their own (see `setup.py`)."""

import asyncio
from collections.abc import Awaitable, Callable, Collection
from typing import TypeVar

from workers.core.deadlines import Deadline
from workers.inference.pool import Pool, Slot

T = TypeVar("T")


async def acquire(pool: Pool, key: bytes | None, avoid: str | None = None) -> Slot:
    """Wait for a slot, first come first served; of another instance than `avoid` where there is room."""
    future = pool.wait(key, avoid)
    try:
        return await future
    except asyncio.CancelledError:
        pool.forget(future)
        raise


async def settled(tasks: Collection[asyncio.Task[None]], deadline: Deadline) -> None:
    """Wait for these, until the deadline at most."""
    if tasks:
        await asyncio.wait(tasks, timeout=deadline.remaining())


async def told(
    asked: Awaitable[T], then: Callable[[T | Exception], None], broke: Callable[[Exception], None]
) -> None:
    """Tell what comes of asking, be it an exception. `broke` hears of what telling it raises: nobody else would."""
    result: T | Exception
    try:
        result = await asked
    except Exception as error:  # noqa: BLE001 - whoever asked knows what it means
        result = error
    try:
        then(result)
    except Exception as error:  # noqa: BLE001 - whatever it is, the process must not go on as if nothing were
        broke(error)
