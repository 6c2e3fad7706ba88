"""Replies on their way to the client of one stream, many in a message where it takes many."""

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable, Sequence

from schemas import relayfleet_pb2 as wire

_OVERHEAD = 300  # bytes of a reply beside its fields
_MOST_TOGETHER = 1_000_000  # bytes; a client takes messages of 4 MB unless it was told otherwise

Write = Callable[[Sequence[wire.ConverseReply]], Awaitable[None]]


class Outbox:
    """Keeps up to `room` bytes for a client that is slow; who has more waits.

    A reply waits `linger` seconds for others at most, and for the replies before it to be written.
    """

    def __init__(self, write: Write, room: int, linger: float = 0.0) -> None:
        """`write` takes the replies that go together, never two lists at once."""
        self._write = write
        self._room = room
        self._linger = linger
        self._replies: deque[tuple[wire.ConverseReply, int]] = deque()
        self._held = 0
        self._closed = False
        self._more = asyncio.Event()
        self._less = asyncio.Event()

    async def put(self, reply: wire.ConverseReply) -> None:
        """Give a reply; returns when there is room for it."""
        while self._held > self._room:
            self._less.clear()
            await self._less.wait()
        size = reply.ByteSize() + _OVERHEAD
        self._replies.append((reply, size))
        self._held += size
        self._more.set()

    def close(self) -> None:
        """Nothing more comes: `run` ends when all is written."""
        self._closed = True
        self._more.set()

    async def run(self) -> None:
        """Write. Raises what writing does."""
        while True:
            if self._replies and self._linger and not self._closed:
                await asyncio.sleep(self._linger)
            while self._replies:
                together, size = self._next()
                await self._write(together)
                self._held -= size
                self._less.set()
            if self._closed:
                return
            self._more.clear()
            await self._more.wait()

    def _next(self) -> tuple[list[wire.ConverseReply], int]:
        together: list[wire.ConverseReply] = []
        size = 0
        while self._replies and (not together or size + self._replies[0][1] <= _MOST_TOGETHER):
            reply, its = self._replies.popleft()
            together.append(reply)
            size += its
        return together, size
