"""An answer that is read piece by piece."""

import asyncio
from collections import deque
from collections.abc import Callable
from typing import Protocol

Headers = list[tuple[bytes, bytes]]
"""Names in lower case, in the order in which they came; trailers behind them."""

_MOST_HELD = 256 * 1024
"""Bytes that wait to be read before the server is made to wait."""


class Pause(Protocol):
    """Stops and restarts reading from the server."""

    def __call__(self, *, reading: bool) -> None:
        """Stop with False, go on with True."""


def find(headers: Headers, name: str) -> str | None:
    """The first value of header `name` (in lower case), or None."""
    wanted = name.encode("latin-1")
    for key, value in headers:
        if key == wanted:
            return value.decode("latin-1").strip(" \t")
    return None


class HttpStream:
    """Status and headers, and the body as an async iterator of pieces, as they come off the wire.

    The pieces that came are given before the error that ended them: a `MessageError`.
    """

    def __init__(self, status: int, headers: Headers, loop: asyncio.AbstractEventLoop, pause: Pause) -> None:
        self.status = status
        self.headers = headers
        self._loop = loop
        self._pause = pause
        self._pieces: deque[bytes] = deque()
        self._held = 0
        self._paused = False
        self.over = False  # nothing more will come
        self._error: Exception | None = None
        self._wake: Callable[[], None] = lambda: None

    def header(self, name: str) -> str | None:
        """The first value of header `name` (in lower case), or None."""
        return find(self.headers, name)

    async def read(self) -> bytes:
        """All that has not been read yet."""
        return b"".join([piece async for piece in self])

    def __aiter__(self) -> "HttpStream":
        """One reader at a time."""
        return self

    async def __anext__(self) -> bytes:
        """The next piece. Raises `MessageError` where the answer broke."""
        while not self._pieces:
            if self._error is not None:
                raise self._error
            if self.over:
                raise StopAsyncIteration
            await self._news()
        piece = self._pieces.popleft()
        self._held -= len(piece)
        if self._paused and self._held <= _MOST_HELD // 2:
            self._paused = False
            self._pause(reading=True)
        return piece

    def feed(self, piece: bytes) -> None:
        """Another piece has come."""
        self._pieces.append(piece)
        self._held += len(piece)
        if self._held > _MOST_HELD and not self._paused:
            self._paused = True
            self._pause(reading=False)
        self._wake()

    def end(self) -> None:
        """That was the last piece. Reading goes on: from now on it is somebody else's answer that comes."""
        self.over = True
        if self._paused:
            self._paused = False
            self._pause(reading=True)
        self._wake()

    def fail(self, error: Exception) -> None:
        """Nothing more will come, because of this."""
        self._error = error
        self.over = True
        self._wake()

    async def _news(self) -> None:
        news = self._loop.create_future()
        self._wake = lambda: None if news.done() else news.set_result(None)
        await news
