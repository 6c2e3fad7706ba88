"""Operations of a Lua script that travel together: what is asked while one round trip is under way goes in the next."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import Any, Generic, TypeVar

import redis.exceptions

from workers.core.errors import UnreachableError

_MOST_AT_ONCE = 512
O = TypeVar("O")  # noqa: E741 - an operation


class Batched(Generic[O]):
    """Sends operations in batches, one batch at a time. `run` does a batch and returns a result for each.

    Belongs to the event loop that it is first used on: asking for the loop at each operation is a system call.

    Raises `UnreachableError` to each caller whose batch Redis did not answer; `address` is how that error calls it.
    """

    def __init__(self, run: Callable[[Sequence[O]], Awaitable[list[Any]]], address: str) -> None:
        self._run = run
        self._address = address
        self._waiting: list[tuple[O, asyncio.Future[Any]]] = []
        self._sender: asyncio.Task[None] | None = None
        self._loop: asyncio.AbstractEventLoop | None = None

    def do(self, operation: O) -> asyncio.Future[Any]:
        """Do one operation, with the next batch."""
        if self._loop is None:
            self._loop = asyncio.get_running_loop()
        future: asyncio.Future[Any] = self._loop.create_future()
        self._waiting.append((operation, future))
        if self._sender is None or self._sender.done():
            self._sender = self._loop.create_task(self._send_waiting())
        return future

    async def close(self) -> None:
        """Wait until what was asked is done."""
        if self._sender is not None:
            await asyncio.gather(self._sender, return_exceptions=True)

    async def _send_waiting(self) -> None:
        while self._waiting:
            batch, self._waiting = self._waiting[:_MOST_AT_ONCE], self._waiting[_MOST_AT_ONCE:]
            try:
                results = await self._run([operation for operation, _ in batch])
            except (redis.exceptions.RedisError, OSError) as error:
                why = f"Redis at {self._address} does not answer ({type(error).__name__}); is it running?"
                _fail(batch, UnreachableError(why))
            except Exception as error:  # noqa: BLE001 - a fault of ours: whoever waits must hear of it
                _fail(batch, error)
            else:
                for (_, future), result in zip(batch, results, strict=True):
                    if not future.done():
                        future.set_result(result)


def _fail(batch: Sequence[tuple[Any, asyncio.Future[Any]]], error: Exception) -> None:
    for _, future in batch:
        if not future.done():
            future.set_exception(error)
