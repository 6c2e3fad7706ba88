"""HTTP/1.1 for backends: one server, a pool of kept connections, all on the event loop.

A client that works in threads of its own trades the GIL with a busy loop for every call, which cost a third of a
worker's time; general clients on the loop cost more than everything else that a worker does to a message. Redirects
are not followed and proxies of the environment not used: the topology alone says where a prompt goes.
"""

import asyncio
import functools
import ssl
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any
from urllib.parse import SplitResult

from schemas.errors import ErrorClass
from workers.backends.http_begun import Begun, TellResponse
from workers.backends.http_connection import HttpConnection, HttpResponse, Result, StaleError
from workers.backends.http_errors import failure
from workers.backends.http_head import Fields, rendered, written
from workers.backends.http_pool import Connections
from workers.backends.http_stream import HttpStream
from workers.core.errors import MessageError, UsageError

__all__ = ["HttpClient", "HttpPolicy", "HttpResponse", "HttpStream"]

_DEFAULTS: Fields = (("user-agent", "relayfleet"), ("accept-encoding", "identity"))


@dataclass(frozen=True, slots=True)
class HttpPolicy:
    """Bounds. Times are seconds; `max_body` is bytes of one answer."""

    connections: int = 64
    connect_timeout: float = 5.0
    keep: float = 90.0  # a connection that was idle for longer is not used again
    max_body: int = 10 * 1024 * 1024


class HttpClient:
    """Calls one server. Belongs to the event loop it is first used on.

    `name` is what errors call the server. Every failure is a `MessageError`: `connect` where it can't be reached or
    breaks off, `timeout`, `overloaded` where every connection is in use, `upstream_5xx` for what is not HTTP. A status
    is never an error here.
    """

    def __init__(
        self, name: str, address: SplitResult, headers: Fields = (), policy: HttpPolicy | None = None
    ) -> None:
        """`address` gives scheme, host and port; `headers` go along with every request. Raises `UsageError`."""
        self.name = name
        self._policy = policy or HttpPolicy()
        self._host, self._port = _place(address)
        self._tls = address.scheme == "https"
        self._common = rendered([("host", _host_header(address)), *_DEFAULTS, *headers])
        self._connections = Connections(name, self._policy.keep)
        self._closed = False
        self._loop: asyncio.AbstractEventLoop | None = None

    async def request(
        self, method: str, path: str, headers: Fields = (), body: bytes = b"", *, seconds: float
    ) -> HttpResponse:
        """One call. `seconds` bounds all of it, from waiting for a connection to the last byte.

        Cancelling closes the connection. Raises `MessageError`.
        """
        data = self._head(method, path, headers, body)
        response: HttpResponse
        _, response = await self._exchange(data, seconds, streamed=False, head=method == "HEAD")
        return response

    def begin(
        self,
        method: str,
        path: str,
        headers: Fields = (),
        body: bytes = b"",
        *,
        seconds: float,
        told: TellResponse,
    ) -> Callable[[], None] | None:
        """The same without a task: sends at once, and tells later. Returns how to abandon it, of which nobody is told.

        None: there is no connection that could be used at once. Raises `MessageError` for what can't be sent at all.
        """
        if not self._connections.idle:
            return None
        data = self._head(method, path, headers, body)
        connection = self._connections.take()
        if connection is None:
            return None
        if self._loop is None:
            self._loop = asyncio.get_running_loop()
        begun = Begun(connection, data, self._loop.time() + seconds, told, self._again)
        begun.send(self._policy.max_body, head=method == "HEAD")
        return begun.abandon

    @asynccontextmanager
    async def stream(
        self, method: str, path: str, headers: Fields = (), body: bytes = b"", *, seconds: float
    ) -> AsyncIterator[HttpStream]:
        """One call whose answer is read while it comes. Leaving early closes the connection; see `request`."""
        data = self._head(method, path, headers, body)
        stream: HttpStream
        connection, stream = await self._exchange(data, seconds, streamed=True, head=method == "HEAD")
        try:
            yield stream
        finally:
            if not stream.over:
                connection.abort()

    async def close(self) -> None:
        """Let go of all connections. Calls under way, and later ones, fail as `connect`."""
        self._closed = True
        for connection in list(self._connections.all):
            connection.fail(self._let_go())
            connection.abort()
        self._connections.wake_all()

    # -- one call ----------------------------------------------------------------------------------------------------

    def _head(self, method: str, path: str, headers: Fields, body: bytes) -> bytes:
        return written(method, path, self._common, headers, body)

    async def _exchange(
        self, data: bytes, seconds: float, *, streamed: bool, head: bool
    ) -> tuple[HttpConnection, Any]:
        """Send and wait; once more on another connection where the first had been closed while it was idle."""
        if self._loop is None:  # asking for it at each call is a system call
            self._loop = asyncio.get_running_loop()
        until = self._loop.time() + seconds
        again = False
        while True:
            connection = self._connections.take() or await self._acquire(until)
            future: asyncio.Future[Any] = self._loop.create_future()
            tell = functools.partial(_tell, future)
            connection.send(data, until, self._policy.max_body, tell, streamed=streamed, head=head)
            try:
                return connection, await future
            except StaleError as error:
                self._connections.drop_idle()  # whatever closed that one has closed those too
                if again:
                    raise failure(ErrorClass.CONNECT, f"{self.name} broke the connection") from error
                again = True
            except asyncio.CancelledError:
                connection.cancel(tell)
                raise

    def _again(self, begun: Begun) -> "asyncio.Task[None]":
        """Whatever closed its connection while that was idle has closed the others too."""
        self._connections.drop_idle()
        assert self._loop is not None  # noqa: S101 - it has begun
        return self._loop.create_task(self._ask_again(begun))

    async def _ask_again(self, begun: Begun) -> None:
        assert self._loop is not None  # noqa: S101 - it has begun
        left = max(0.0, begun.until - self._loop.time())
        try:
            _, response = await self._exchange(begun.data, left, streamed=False, head=begun.head)
        except Exception as error:  # noqa: BLE001 - whoever asked knows what a bug means
            response = error
        begun.tell(response)

    async def _acquire(self, until: float) -> HttpConnection:
        """A new connection, or one that somebody else gives back when there may be no more."""
        if self._closed:
            raise self._let_go()
        while len(self._connections.all) >= self._policy.connections:
            connection = await self._wait(until)
            if connection is not None:
                return connection
        return await self._connect(until)

    async def _wait(self, until: float) -> HttpConnection | None:
        """In line, first come first served. None: there is room for another connection now."""
        future = self._connections.wait()
        try:
            async with asyncio.timeout_at(until):
                connection = await future
        except TimeoutError as error:
            self._connections.pass_on(future)
            raise failure(ErrorClass.OVERLOADED, f"{self.name} has every connection in use") from error
        except asyncio.CancelledError:
            self._connections.pass_on(future)
            raise
        if self._closed:
            raise self._let_go()
        return connection

    async def _connect(self, until: float) -> HttpConnection:
        loop = asyncio.get_running_loop()
        connection = HttpConnection(self._connections, loop)
        self._connections.all.add(connection)
        try:
            async with asyncio.timeout_at(min(until, loop.time() + self._policy.connect_timeout)):
                await loop.create_connection(
                    lambda: connection, self._host, self._port, ssl=_tls() if self._tls else None
                )
        except TimeoutError as error:
            raise self._unreachable("can't be reached: connecting took too long") from error
        except ssl.SSLCertVerificationError as error:
            raise self._unreachable("can't be trusted: its certificate is not valid") from error
        except ssl.SSLError as error:
            raise self._unreachable("can't be reached over TLS") from error
        except OSError as error:
            raise self._unreachable("can't be reached") from error
        finally:
            if not connection.ready:
                self._connections.gone(connection)
        if self._closed:
            connection.abort()
            raise self._let_go()
        return connection

    def _unreachable(self, what: str) -> MessageError:
        return failure(ErrorClass.CONNECT, f"{self.name} {what}")

    def _let_go(self) -> MessageError:
        return self._unreachable("was let go while it was being called")


def _tell(future: "asyncio.Future[Any]", result: Result) -> None:
    if future.done():  # whoever waited has given up
        return
    if isinstance(result, Exception):
        future.set_exception(result)
    else:
        future.set_result(result)


def _place(address: SplitResult) -> tuple[str, int]:
    try:
        host = (address.hostname or "").encode("idna").decode("ascii")
        port = address.port
    except ValueError as error:  # UnicodeError too
        raise UsageError(f"{address.hostname!r} with its port is no address that can be called") from error
    return host, port or (443 if address.scheme == "https" else 80)


def _host_header(address: SplitResult) -> str:
    host, _ = _place(address)
    host = f"[{host}]" if ":" in host else host
    return host if address.port is None else f"{host}:{address.port}"


@functools.cache
def _tls() -> ssl.SSLContext:
    """Verifies with the system's certificates, or those that SSL_CERT_FILE names."""
    return ssl.create_default_context()
