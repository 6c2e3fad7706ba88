"""One WebSocket connection with many requests on it: opened when it is needed, and again after it was lost."""

import asyncio
import ssl
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import (
    ConnectionClosed,
    InvalidHandshake,
    InvalidMessage,
    InvalidStatus,
    InvalidURI,
    ProtocolError,
)
from websockets.typing import Subprotocol

from schemas.errors import ErrorClass
from workers.backends.http_errors import failure, status_class
from workers.backends.instances import MAX_ANSWER
from workers.core.errors import MessageError

CONNECT_SECONDS = 5.0

CLOSED: Mapping[int, ErrorClass] = {
    1000: ErrorClass.CONNECT,  # done, going away, no word at all: the next connection may do
    1001: ErrorClass.CONNECT,
    1005: ErrorClass.CONNECT,
    1006: ErrorClass.CONNECT,
    1008: ErrorClass.AUTH,
    1012: ErrorClass.CONNECT,
    1013: ErrorClass.OVERLOADED,
    1014: ErrorClass.CONNECT,
    1015: ErrorClass.CONNECT,
    3000: ErrorClass.AUTH,
    3003: ErrorClass.AUTH,
    3008: ErrorClass.TIMEOUT,
}
"""What a server means by the code it closes with; every other one is a failure of its own (`upstream_5xx`).

None is a request's own fault: a connection carries many, and one of them must not take the others with it.
"""

Take = Callable[[Any], bool]
"""Is given each message of one request; says whether it was the last."""


@dataclass(frozen=True, slots=True)
class Place:
    """Where to connect, and how."""

    name: str
    url: str
    headers: Mapping[str, str]
    subprotocol: str | None = None
    tls: ssl.SSLContext | None = None


class _Connect(connect):
    """The library's own, which would go where a redirect points."""

    def process_redirect(self, exc: Exception) -> Exception | str:
        """See `connect`: a redirect is an error."""
        return exc


@dataclass(slots=True)
class _Asked:
    """A request that waits for its answer."""

    take: Take
    done: asyncio.Future[None] = field(default_factory=lambda: asyncio.get_running_loop().create_future())


class Link:
    """See the module. `read` takes a message apart into the id it answers and its JSON."""

    def __init__(self, place: Place, read: Callable[[str | bytes], tuple[str | None, Any]]) -> None:
        self._place = place
        self._read = read
        self._socket: ClientConnection | None = None
        self._opening: asyncio.Task[ClientConnection] | None = None
        self._reading: asyncio.Task[None] | None = None
        self._asked: dict[str, _Asked] = {}
        self._closed = False
        self.calls = 0

    async def ask(self, number: str, message: str, take: Take) -> None:
        """Send a request and wait until `take` has its last message. Raises `MessageError`."""
        self.calls += 1
        asked = _Asked(take)
        try:
            await self._send(number, message, asked)
            await asked.done
        finally:
            self.calls -= 1
            self._asked.pop(number, None)
            if asked.done.done() and not asked.done.cancelled():
                asked.done.exception()  # it was told, or nobody waits any more

    async def close(self) -> None:
        """Let go. Requests under way, and later ones, fail as `connect`. Idempotent."""
        self._closed = True
        if self._opening is not None:
            self._opening.cancel()
        if self._socket is not None:
            await self._socket.close()
        if self._reading is not None:
            await asyncio.wait({self._reading})
        self._fail(self._failure(ErrorClass.CONNECT, "was let go while it was being called"))

    async def _send(self, number: str, message: str, asked: _Asked) -> None:
        """On the connection there is, else on a new one: the server may have closed the old one meanwhile."""
        for last in (False, True):
            socket = await self._connected()
            self._asked[number] = asked
            try:
                await socket.send(message)
            except ConnectionClosed as error:
                self._asked.pop(number, None)
                if last or asked.done.done():
                    raise self._of_close(error) from error
            else:
                return

    async def _connected(self) -> ClientConnection:
        if self._closed:
            raise self._failure(ErrorClass.CONNECT, "was let go while it was being called")
        if self._socket is not None:
            return self._socket
        if self._opening is None:
            self._opening = asyncio.create_task(self._open())
            self._opening.add_done_callback(self._opened)
        try:
            return await asyncio.shield(self._opening)  # others wait for it too
        except asyncio.CancelledError as error:
            if not self._closed:
                raise
            raise self._failure(ErrorClass.CONNECT, "was let go while it was being called") from error

    def _opened(self, task: asyncio.Task[ClientConnection]) -> None:
        self._opening = None
        if not task.cancelled():
            task.exception()  # told to whoever waited; nobody may be left

    async def _open(self) -> ClientConnection:
        place = self._place
        protocols = [Subprotocol(place.subprotocol)] if place.subprotocol is not None else None
        try:
            socket = await _Connect(
                place.url,
                additional_headers=place.headers,
                subprotocols=protocols,
                ssl=place.tls,
                proxy=None,
                user_agent_header="relayfleet",
                open_timeout=CONNECT_SECONDS,
                max_size=MAX_ANSWER,
            )
        except (OSError, TimeoutError, InvalidHandshake, InvalidURI, ProtocolError, EOFError) as error:
            raise self._of_handshake(error) from error
        self._socket = socket
        self._reading = asyncio.create_task(self._listen(socket))
        return socket

    async def _listen(self, socket: ClientConnection) -> None:
        """Hand out what comes, until the connection ends."""
        try:
            while True:
                self._hand_out(await socket.recv())
        except ConnectionClosed as error:
            lost = self._of_close(error)
        except MessageError as error:  # what can't be read belongs to nobody: nothing after it can be trusted
            lost = error
        self._socket = None
        self._fail(lost)
        await socket.close()

    def _hand_out(self, message: str | bytes) -> None:
        number, body = self._read(message)
        asked = self._asked.get(number) if number is not None else None
        if asked is None or asked.done.done():
            return
        try:
            if asked.take(body):
                asked.done.set_result(None)
        except MessageError as error:
            asked.done.set_exception(error)

    def _fail(self, error: MessageError) -> None:
        for asked in list(self._asked.values()):
            if not asked.done.done():
                asked.done.set_exception(error)

    def _of_close(self, error: ConnectionClosed) -> MessageError:
        if error.rcvd is None and error.sent is not None and error.sent.code == 1009:
            return self._failure(ErrorClass.UPSTREAM_5XX, f"sent more than {MAX_ANSWER // 1024**2} MiB")
        if error.rcvd is None and error.sent is not None and error.sent.code in {1002, 1007}:
            return self._failure(ErrorClass.UPSTREAM_5XX, "does not speak WebSocket as expected")
        code = error.rcvd.code if error.rcvd is not None else 1006
        return self._failure(CLOSED.get(code, ErrorClass.UPSTREAM_5XX), f"closed the connection ({code})")

    def _of_handshake(self, error: Exception) -> MessageError:
        if isinstance(error, InvalidStatus):
            status = error.response.status_code
            return failure(status_class(status), f"{self._place.name} answered {status}", status=status)
        if isinstance(error, InvalidHandshake | ProtocolError) and not isinstance(error, InvalidMessage):
            return self._failure(ErrorClass.UPSTREAM_5XX, "does not speak WebSocket as expected")
        if isinstance(error, ssl.SSLCertVerificationError):
            return self._failure(ErrorClass.CONNECT, "can't be trusted: its certificate is not valid")
        return self._failure(ErrorClass.CONNECT, "can't be reached")

    def _failure(self, error_class: ErrorClass, what: str) -> MessageError:
        return failure(error_class, f"{self._place.name} {what}")
