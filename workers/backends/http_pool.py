"""The connections of an HTTP client: which are kept for the next request, and who waits for one.

Without coroutines, so that it can be compiled; connecting and waiting are in `http_client`.
"""

import asyncio
from collections import deque

from workers.backends.http_connection import HttpConnection


class Connections:
    """The `Owner` of an HTTP client's connections. `name` is the server's; `keep`: seconds that one may be idle."""

    def __init__(self, name: str, keep: float) -> None:
        self.name = name
        self.all: set[HttpConnection] = set()  # connected, or about to be
        self._keep = keep
        self._idle: list[HttpConnection] = []
        self._waiters: deque[asyncio.Future[HttpConnection | None]] = deque()

    @property
    def idle(self) -> bool:
        """Whether any waits for a request; it may turn out to be too old."""
        return bool(self._idle)

    def take(self) -> HttpConnection | None:
        """A connection that waits for a request."""
        while self._idle:
            connection = self._idle.pop()
            if connection.usable(self._keep):
                return connection
            connection.abort()
        return None

    def free(self, connection: HttpConnection) -> None:
        """See `Owner`."""
        if not (self._waiters and self._hand_over(connection)):
            self._idle.append(connection)

    def gone(self, connection: HttpConnection) -> None:
        """See `Owner`."""
        self.all.discard(connection)
        if connection in self._idle:
            self._idle.remove(connection)
        self._hand_over(None)

    def drop_idle(self) -> None:
        """Close those that wait for a request."""
        for connection in self._idle:
            connection.abort()
        self._idle.clear()

    def wait(self) -> "asyncio.Future[HttpConnection | None]":
        """A place in line, first come first served. None: there is room for another connection now."""
        future: asyncio.Future[HttpConnection | None] = asyncio.get_running_loop().create_future()
        self._waiters.append(future)
        return future

    def pass_on(self, future: "asyncio.Future[HttpConnection | None]") -> None:
        """Whoever waited does not want it any more."""
        if future.done() and not future.cancelled():
            connection = future.result()
            if connection is None:
                self._hand_over(None)
            else:
                self.free(connection)

    def wake_all(self) -> None:
        """Let nobody wait any more."""
        while self._hand_over(None):
            pass

    def _hand_over(self, connection: HttpConnection | None) -> bool:
        """Give a connection, or with None the room for another, to the first who waits."""
        while self._waiters:
            future = self._waiters.popleft()
            if not future.done():
                future.set_result(connection)
                return True
        return False
