"""Frames on their way to one client, who may be slow."""

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable


class StalledError(Exception):
    """The client takes nothing."""


class Outbox:
    """Sends frames in their order. At most `most` bytes wait; whoever has another frame waits with it.

    `stall`: seconds after which a client that takes nothing is given up.
    """

    def __init__(self, send: Callable[[str], Awaitable[None]], most: int, stall: float) -> None:
        self._send = send
        self._most = most
        self._stall = stall
        self._frames: deque[bytes] = deque()
        self._held = 0
        self._news = asyncio.Event()
        self._room = asyncio.Event()

    async def put(self, frame: bytes) -> None:
        """Send this after those before it; returns once there is room for it."""
        while self._held and self._held + len(frame) > self._most:
            self._room.clear()
            await self._room.wait()
        self._held += len(frame)
        self._frames.append(frame)
        self._news.set()

    async def run(self) -> None:
        """Send until cancelled. Raises `StalledError`, and what sending raises."""
        while True:
            while not self._frames:
                self._news.clear()
                await self._news.wait()
            frame = self._frames.popleft()
            try:
                async with asyncio.timeout(self._stall):
                    await self._send(frame.decode())
            except TimeoutError as error:
                raise StalledError from error
            self._held -= len(frame)
            self._room.set()
