"""Operations of a Lua script that travel together: what is asked while one round trip is under way goes in the next."""

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from typing import Any, Generic, TypeVar

import redis.exceptions

from workers.core.errors import UnreachableError

_MOST_AT_ONCE = 512
O = TypeVar("O")  # noqa: E741 - an operation
_Caller = tuple[Sequence[O], asyncio.Future[list[Any]]]


class Batched(Generic[O]):
    """Sends operations in batches, one batch at a time. `run` does a batch and returns a result for each.

    Belongs to the event loop that it is first used on: asking for the loop at each operation is a system call.

    Raises `UnreachableError` to each caller whose batch Redis did not answer; `address` is how that error calls it.
    """

    def __init__(self, run: Callable[[Sequence[O]], Awaitable[list[Any]]], address: str) -> None:
        self._run = run
        self._address = address
        self._waiting: deque[_Caller[O]] = deque()
        self._sender: asyncio.Task[None] | None = None
        self._loop: asyncio.AbstractEventLoop | None = None

    async def do(self, operation: O) -> Any:
        """Do one operation, with the next batch."""
        (result,) = await self.do_all([operation])
        return result

    def do_all(self, operations: Sequence[O]) -> "asyncio.Future[list[Any]]":
        """Do these together, with the next batch. Gives their results in the same order."""
        if self._loop is None:
            self._loop = asyncio.get_running_loop()
        future: asyncio.Future[list[Any]] = self._loop.create_future()
        self._waiting.append((operations, future))
        if self._sender is None or self._sender.done():
            self._sender = self._loop.create_task(self._send_waiting())
        return future

    async def close(self) -> None:
        """Wait until what was asked is done."""
        if self._sender is not None:
            await asyncio.wait({self._sender})

    async def _send_waiting(self) -> None:
        while self._waiting:
            callers = self._next()
            operations = [operation for asked, _ in callers for operation in asked]
            try:
                _answer(callers, await self._run(operations))
            except (redis.exceptions.RedisError, OSError) as error:
                _fail(callers, unreachable(self._address, error))
            except Exception as error:  # noqa: BLE001 - a fault of ours: whoever waits must hear of it
                _fail(callers, error)

    def _next(self) -> list[_Caller[O]]:
        """The callers of the next batch: as many as fit, one at least."""
        callers = [self._waiting.popleft()]
        size = len(callers[0][0])
        while self._waiting and (size := size + len(self._waiting[0][0])) <= _MOST_AT_ONCE:
            callers.append(self._waiting.popleft())
        return callers


def unreachable(address: str, error: Exception) -> UnreachableError:
    """What to tell of an error of redis-py's, without what it may quote."""
    if isinstance(error, redis.exceptions.ResponseError):
        return UnreachableError(f"Redis at {address} refuses: {_code(error)}")
    return UnreachableError(f"Redis at {address} does not answer ({type(error).__name__}); is it running?")


def _code(error: redis.exceptions.ResponseError) -> str:
    """The word that Redis puts first, as `OOM` or `READONLY`; the rest may quote what it was sent."""
    word = str(error).partition(" ")[0]
    return word if word.isalpha() and word.isupper() else type(error).__name__


def _answer(callers: Sequence[_Caller[O]], results: Sequence[Any]) -> None:
    """Raises `ValueError` where there is not a result for each, before anybody is told another's."""
    wanted = sum(len(asked) for asked, _ in callers)
    if len(results) != wanted:
        raise ValueError(f"{len(results)} results of {wanted} operations")
    taken = 0
    for asked, future in callers:
        if not future.done():
            future.set_result(list(results[taken : taken + len(asked)]))
        taken += len(asked)


def _fail(callers: Sequence[_Caller[O]], error: Exception) -> None:
    for _, future in callers:
        if not future.done():
            future.set_exception(error)
