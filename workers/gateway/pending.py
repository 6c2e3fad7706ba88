"""Requests that somebody waits for: who waits under which id, and what has come for them."""

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Callable, Sequence
from types import TracebackType
from typing import NamedTuple

from schemas.chunk import Chunk
from schemas.codec import decode_response
from schemas.errors import DecodeError
from schemas.response import Response
from workers.gateway.refusals import RefusalError, throttled
from workers.gateway.waiting import Alarm, done_within, wait_for_wake, wake

_LINGER = 5.0
"""Seconds for the last pieces when the response is there already: two partitions have no common order."""
_LINGER_UNTOLD = 0.5  # and where it does not say that it came in pieces, whose last one would be called so
_LINGER_UNSTARTED = 0.1  # nor has a piece come at all: most likely the target does not stream
_CHUNK_OVERHEAD = 300  # bytes of a piece beside its text


class Reply(NamedTuple):
    """A response as it came: the bytes of the envelope, in JSON."""

    value: bytes

    def response(self) -> Response:
        """The typed envelope. Raises `DecodeError`."""
        return decode_response(self.value)

    @property
    def in_pieces(self) -> bool:
        """Whether it is an answer that was streamed: all its pieces were with the broker before it."""
        try:
            response = self.response()
        except DecodeError:
            return False
        return response.status == "ok" and response.timing.first_token is not None


def key_of(tenant: str | None, message_id: str) -> str:
    """Under which key the answers of a tenant's message are kept. No two tenants share one, whatever their names."""
    return f"{len(tenant)}:{tenant}:{message_id}" if tenant is not None else f"-:{message_id}"


class Pending:
    """A request that the broker has. `with` it, or `cancel` it: it is kept track of until then.

    Pieces that nobody reads are kept up to `buffer` bytes. `on_leave` is called once.
    """

    __slots__ = (
        "_arrived", "_buffer", "_chunks", "_complete", "_held", "_here", "_left", "_next", "_on_leave", "_overrun", "_run",
        "_waiters", "_woken", "client", "fingerprint", "key", "looked_at", "message_id", "place", "reply", "taken_at",
    )  # fmt: skip

    def __init__(
        self,
        identity: tuple[str, str, str],
        place: int,
        taken_at: float,
        buffer: int,
        on_leave: "Callable[[Pending], None]",
    ) -> None:
        """`identity`: the message's id, the key of its answer, and the client whose place is taken."""
        self.message_id, self.key, self.client = identity
        self.place = place  # the partition where the answer comes
        self.taken_at = taken_at  # monotonic seconds
        self.looked_at = taken_at  # when the store was last asked for it
        self.fingerprint = b""
        self.reply: Reply | None = None
        self._on_leave = on_leave
        self._left = False
        self._buffer = buffer
        self._arrived = False
        self._here = False
        self._waiters: list[asyncio.Future[None]] = []
        self._chunks: deque[Chunk] = deque()
        self._held = 0
        self._woken: asyncio.Future[None] | None = None  # whoever waits for pieces
        self._run: str | None = None
        self._next = 0
        self._complete = False
        self._overrun = False

    async def answer(self, wait: float | None) -> Response | None:
        """The response, waited for up to `wait` seconds (None: without end); None where it has not come."""
        reply = await self.wait(wait)
        return reply.response() if reply is not None else None

    async def wait(self, limit: Alarm | float | None) -> Reply | None:
        """The same, as it came."""
        if not self._arrived:
            waiter: asyncio.Future[None] = asyncio.get_running_loop().create_future()
            self._waiters.append(waiter)
            await wait_for_wake(waiter, limit)
        return self.reply

    async def chunks(self) -> AsyncIterator[Chunk]:
        """The pieces as they come, until the response is there. For one reader.

        A piece with another `run` begins the answer anew. Raises `RefusalError` for a reader too slow.
        """
        while True:
            while self._chunks:
                chunk = self._chunks.popleft()
                self._held -= _size(chunk)
                yield chunk
            if self._overrun:
                raise _too_slow()
            if not await self._more():
                return

    async def _more(self) -> bool:
        """Wait for another piece. False: there will be none."""
        while not self._chunks and not self._overrun:
            if self._arrived and self._complete:
                return False
            self._woken = asyncio.get_running_loop().create_future()
            if not await done_within(self._woken, self._patience()):
                return False
        return True

    def _patience(self) -> float | None:
        """Seconds that another piece is worth."""
        if self.reply is None:
            return None
        if self._here and self.reply.in_pieces:
            return _LINGER
        return _LINGER_UNSTARTED if self._run is None else _LINGER_UNTOLD

    def cancel(self) -> None:
        """Nobody waits any more. The answer is kept all the same, and found under its id. Idempotent."""
        if not self._left:
            self._left = True
            self._on_leave(self)
            self._chunks.clear()

    def give_up(self) -> None:
        """Whoever waits for the answer is sent away with the id."""
        self._complete = True
        self._arrive()

    def answered(self, reply: Reply, *, here: bool = False) -> None:
        """The response has come. `here`: to this gateway, as its pieces do."""
        if self.reply is None:
            self.reply = reply
            self._here = here
            self._arrive()

    def chunk(self, chunk: Chunk) -> None:
        """A piece has come. One that does not follow on the last one is left out."""
        if chunk.index == 0 and chunk.run != self._run:
            self._run, self._next, self._complete = chunk.run, 0, False
        if chunk.run != self._run or chunk.index != self._next or self._overrun:
            if chunk.final:  # of a run that is not followed: whoever came late gets no piece of it
                self._complete = True
                self._wake()
            return
        self._next += 1
        self._complete = chunk.final
        self._held += _size(chunk)
        if self._held > self._buffer:
            self._overrun = True
            self._chunks.clear()
        else:
            self._chunks.append(chunk)
        self._wake()

    def _arrive(self) -> None:
        self._arrived = True
        for waiter in self._waiters:
            wake(waiter)
        self._wake()

    def _wake(self) -> None:
        if self._woken is not None:
            wake(self._woken)

    def __enter__(self) -> "Pending":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.cancel()


class Registry:
    """Everybody who waits, by key. Several may wait for one."""

    def __init__(self) -> None:
        self._by_key: dict[str, list[Pending]] = {}
        self._empty = asyncio.Event()

    async def emptied(self) -> None:
        """Wait until nobody waits any more."""
        while self._by_key:
            self._empty.clear()
            await self._empty.wait()

    def __len__(self) -> int:
        return sum(map(len, self._by_key.values()))

    def all(self) -> list[Pending]:
        """A copy."""
        return [pending for waiting in self._by_key.values() for pending in waiting]

    def add(self, pending: Pending) -> None:
        """Somebody waits."""
        waiting = self._by_key.get(pending.key)
        if waiting is None:
            self._by_key[pending.key] = [pending]
        else:
            waiting.append(pending)

    def remove(self, pending: Pending) -> None:
        """And does not any more. Idempotent."""
        waiting = self._by_key.get(pending.key)
        if waiting is not None and pending in waiting:
            waiting.remove(pending)
            if not waiting:
                del self._by_key[pending.key]
        if not self._by_key:
            self._empty.set()

    def waiting(self, key: str) -> Sequence[Pending]:
        """Who waits for this."""
        return self._by_key.get(key, _NOBODY)


_NOBODY: Sequence[Pending] = ()


def _size(chunk: Chunk) -> int:
    return _CHUNK_OVERHEAD + 4 * len(chunk.text) + (len(str(chunk.delta)) if chunk.delta else 0)


def _too_slow() -> RefusalError:
    return throttled("the answer came faster than it was read; it is found whole under its id", 0.0)
