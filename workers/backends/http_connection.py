"""One HTTP/1.1 connection on the event loop: one request at a time, its answer parsed by llhttp.

Whatever goes wrong ends the connection: only one whose answer was read to its last byte serves another request.
"""

import asyncio
from collections.abc import Callable
from typing import NamedTuple, Protocol, cast

import httptools

from schemas.errors import ErrorClass
from workers.backends.http_errors import failure
from workers.backends.http_stream import Headers, HttpStream, find
from workers.core.clock import LOOP_SLACK
from workers.core.errors import MessageError

MAX_OVERHEAD = 64 * 1024
"""Bytes at most that come with no body among them: heads, trailers and extensions without end are cut off."""

RACE = 1.0
"""Seconds. A kept connection that ends so soon after a request was sent had been closed while it was idle; one that
ends later broke within a call."""


class HttpResponse(NamedTuple):
    """A whole answer."""

    status: int
    headers: Headers
    body: bytes

    def header(self, name: str) -> str | None:
        """The first value of header `name` (in lower case), or None."""
        return find(self.headers, name)


class StaleError(Exception):
    """The server had closed this kept connection, and has not seen the request: worth another connection."""


Result = HttpResponse | HttpStream | MessageError | StaleError
Tell = Callable[[Result], None]


class Owner(Protocol):
    """Whom a connection tells; `name` is the server's, for reasons."""

    @property
    def name(self) -> str:
        """What errors call the server."""

    def free(self, connection: "HttpConnection") -> None:
        """Its answer is read, and it can take another request."""

    def gone(self, connection: "HttpConnection") -> None:
        """It is closed."""


class HttpConnection(asyncio.Protocol):
    """See the module. Between `send` and the end of its answer it is busy."""

    def __init__(self, owner: Owner, loop: asyncio.AbstractEventLoop) -> None:
        self._owner = owner
        self._loop = loop
        self._parser = httptools.HttpResponseParser(self)
        self._transport: asyncio.Transport | None = None  # until it is connected
        self._tell: Tell | None = None  # while somebody waits for an answer, or for the head of a stream
        self._timer: asyncio.TimerHandle | None = None
        self._rings_at = self._until = 0.0  # loop time
        self._stream: HttpStream | None = None
        self._busy = False
        self._used = False  # has served a request before
        self._idle_since = loop.time()
        self._size = self._overhead = self._status = 0
        self._touched = self._complete = self._headed = self._keep = False

    # -- asyncio.Protocol ------------------------------------------------------------------------------------------

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """See `asyncio.Protocol`."""
        # A stream connection has no other kind, but uvloop's does not inherit from asyncio's.
        self._transport = cast("asyncio.Transport", transport)

    def data_received(self, data: bytes) -> None:
        """See `asyncio.Protocol`."""
        if not self._busy:  # nobody asked: it must not be taken for the answer to the next request
            self.abort()
            return
        before, self._touched = self._size, True
        try:
            self._parser.feed_data(data)
        except (httptools.HttpParserError, httptools.HttpParserUpgrade):
            self._keep = False
            if not self._complete:
                self.fail(self._failure(ErrorClass.UPSTREAM_5XX, "does not speak HTTP as expected"))
        if self._complete:
            self._finish()
        elif self._size == before:
            self._overhead += len(data)
            if self._overhead > MAX_OVERHEAD:
                self.fail(self._failure(ErrorClass.UPSTREAM_5XX, "sent headers without end"))
        else:
            self._overhead = 0

    def eof_received(self) -> bool:
        """See `asyncio.Protocol`. An answer that told no length is whole now."""
        if self._busy and self._headed and self._until_close():
            self._keep = False
            self._finish()
        return False

    def connection_lost(self, exc: Exception | None) -> None:
        """See `asyncio.Protocol`."""
        if self._busy:
            if self._used and not self._touched and self._loop.time() - self._began < RACE:
                self.fail(StaleError())
            else:
                within = "broke the connection within its answer"
                self.fail(
                    self._failure(ErrorClass.CONNECT, within if self._touched else "broke the connection")
                )
        self._owner.gone(self)

    # -- the client's side -----------------------------------------------------------------------------------------

    @property
    def ready(self) -> bool:
        """Whether it was ever connected."""
        return self._transport is not None

    def usable(self, keep: float) -> bool:
        """Whether it can take a request, after `keep` seconds of idleness at most."""
        transport = self._transport
        return (
            transport is not None
            and not transport.is_closing()
            and self._loop.time() - self._idle_since <= keep
        )

    def send(self, data: bytes, until: float, limit: int, tell: Tell, *, streamed: bool, head: bool) -> None:
        """Send a request, and tell once: an `HttpResponse`, or with `streamed` an `HttpStream` as soon as the head is there.

        `until` (loop time) everything ends. `head`: the answer has no body, whatever it says of its length. What goes
        wrong is told as well, a `StaleError` maybe before this returns.
        """
        assert self._transport is not None  # noqa: S101 - it is connected before it is used
        self._busy = True
        self._streamed, self._bodiless, self._limit = streamed, head, limit
        self._headers: Headers = []
        self._pieces: list[bytes] = []
        self._size = self._overhead = 0
        self._touched = self._complete = self._headed = False
        self._keep = not head
        self._began = self._loop.time()
        self._until = until
        if self._timer is None or self._rings_at > until:
            self._ring_at(until)
        self._tell = tell
        if self._transport.is_closing():  # since it was chosen
            self.fail(StaleError())
        else:
            self._transport.write(data)

    def cancel(self, tell: Tell) -> None:
        """Whoever was to be told does not wait any more. What was answered meanwhile is no reason to close."""
        if self._tell is tell:
            self.abort()

    def abort(self) -> None:
        """Close at once; nobody hears of an answer any more."""
        self._busy = False
        self._tell = None
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if self._transport is not None:
            self._transport.abort()

    def fail(self, error: MessageError | StaleError) -> None:
        """End the request under way with this."""
        if not self._busy:
            return
        tell, stream, self._stream = self._tell, self._stream, None
        self.abort()
        if tell is not None:
            tell(error)
        elif stream is not None and isinstance(error, MessageError):
            stream.fail(error)

    # -- called by the parser ----------------------------------------------------------------------------------------

    def on_message_begin(self) -> None:
        """A head begins. A second answer to one request is nobody's."""
        if self._complete:
            self._keep = False

    def on_header(self, name: bytes, value: bytes) -> None:
        """A header, or a trailer."""
        if not self._complete:
            self._headers.append((name.lower(), value))

    def on_headers_complete(self) -> None:
        """The head is whole."""
        status = self._parser.get_status_code()
        if self._complete or status < 200:  # 100 Continue and its like come before the answer
            return
        self._status = status
        self._headed = True
        if self._streamed and self._tell is not None:
            self._stream = HttpStream(status, self._headers, self._loop, self._pause)
            tell, self._tell = self._tell, None
            tell(self._stream)
        self._complete = self._bodiless

    def on_body(self, body: bytes) -> None:
        """A piece of the body."""
        if self._complete or not self._busy:
            return
        self._size += len(body)
        if self._size > self._limit:
            self.fail(
                failure(
                    ErrorClass.UPSTREAM_5XX,
                    f"{self._owner.name} sent more than {self._limit // 1024**2} MiB",
                    status=self._status,
                )
            )
        elif self._stream is not None:
            self._stream.feed(body)
        else:
            self._pieces.append(body)

    def on_message_complete(self) -> None:
        """The answer is whole, unless it only said to go on."""
        if self._complete:
            return
        if self._parser.get_status_code() < 200:
            self._headers = []
            return
        self._keep = self._keep and self._parser.should_keep_alive()
        self._complete = True

    # -- the end -----------------------------------------------------------------------------------------------------

    def _until_close(self) -> bool:
        """Whether the answer told no length, so that it ends where the connection does."""
        if find(self._headers, "content-length") is not None:
            return False
        return not (find(self._headers, "transfer-encoding") or "").lower().endswith("chunked")

    def _finish(self) -> None:
        """Give the answer to who waits, and the connection back where it can serve another."""
        transport = self._transport
        if not self._busy or transport is None:
            return
        self._busy = False
        self._used = True
        tell, stream, self._tell, self._stream = self._tell, self._stream, None, None
        status, headers, pieces = self._status, self._headers, self._pieces
        # What is not all sent by now is of a request that the server did not read to its end.
        if self._keep and not transport.get_write_buffer_size():
            self._idle_since = self._loop.time()
            self._owner.free(self)
        else:
            transport.abort()
        if stream is not None:
            stream.end()
        elif tell is not None:
            tell(HttpResponse(status, headers, pieces[0] if len(pieces) == 1 else b"".join(pieces)))

    def _pause(self, *, reading: bool) -> None:
        """Take no more from the server, or go on: whoever reads the stream is slower."""
        if self._transport is not None and not self._transport.is_closing():
            (self._transport.resume_reading if reading else self._transport.pause_reading)()

    def _ring_at(self, when: float) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._rings_at = when
        self._timer = self._loop.call_at(when, self._ring)

    def _ring(self) -> None:
        """Look whether it is time: the timer is set once for many requests, which end long before it rings."""
        self._timer = None
        if not self._busy:
            return
        if self._until - self._loop.time() > LOOP_SLACK:
            self._ring_at(self._until)
            return
        what = "did not finish its answer in time" if self._touched else "did not answer in time"
        self.fail(self._failure(ErrorClass.TIMEOUT, what))

    def _failure(self, error_class: ErrorClass, what: str) -> MessageError:
        return failure(error_class, f"{self._owner.name} {what}")
