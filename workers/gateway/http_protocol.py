"""uvicorn's HTTP protocol with bounds on heads, on connections, and on how long a connection may say nothing."""

import asyncio
import re
from http import HTTPStatus
from typing import TYPE_CHECKING, Any, cast

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol, RequestResponseCycle

from workers.core.topology.gateway import Gateway
from workers.gateway.certificates import common_name
from workers.gateway.front import CERTIFICATE
from workers.gateway.http_exchange import Answering, Exchange
from workers.gateway.http_forward import FORWARD
from workers.gateway.problems import Problem

if TYPE_CHECKING:
    from uvicorn._types import HTTPScope

_HTTP2_OFFER = re.compile(rb"\r\nupgrade:[ \t]*h2c[ \t]*(?=\r\n)", re.IGNORECASE)
_FORWARD_SCOPE = {"method": "POST", "path": FORWARD, "raw_path": FORWARD.encode()}


class BoundedHttp(HttpToolsProtocol):
    """One connection. uvicorn itself keeps heads of any size and waits for them without end.

    `answer` takes questions to `FORWARD` without ASGI. Times are looked at when a timer that stays rings: to set one
    and take it back several times a request costs more than to read the clock.
    """

    def __init__(self, settings: Gateway, answer: Answering | None, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self._limits = settings.limits
        self._idle = settings.idle
        self._answer = answer
        self._in_head = False
        self._between = True  # two messages
        self._received = 0  # bytes of a head that has not ended
        self._header_bytes = 0
        self._patience: asyncio.TimerHandle | None = None
        self._silent_since: float | None = None  # loop time; None: a request is under way
        self._running: RequestResponseCycle | None = None
        self._always: dict[str, Any] = {}  # of every request's scope

    def connection_made(self, transport: Any) -> None:
        """See `asyncio.Protocol`."""
        super().connection_made(transport)
        self._always = {
            "type": "http",
            "asgi": {"version": self.asgi_version, "spec_version": "2.3"},
            "http_version": "1.1",
            "server": self.server,
            "client": self.client,
            "scheme": self.scheme,
            "root_path": self.root_path,
            "query_string": b"",
        }
        certificate = common_name(transport)
        if certificate is not None:
            self._always["extensions"] = {CERTIFICATE: {"common_name": certificate}}
        self._wait_for_head()
        if len(self.connections) > self._limits.connections:
            busy = HTTPStatus.SERVICE_UNAVAILABLE
            self._end(busy, "overloaded", "too many connections are open", {"retry-after": "1"})

    def connection_lost(self, exc: Exception | None) -> None:
        """See `asyncio.Protocol`."""
        self._head_came()
        super().connection_lost(exc)
        # uvicorn tells the request that came last, which may wait behind this one.
        if self._running is not None and not self._running.response_complete:
            self._running.disconnected = True
            self._running.message_event.set()
        if self.timeout_keep_alive_task is not None:
            self.timeout_keep_alive_task.cancel()

    def data_received(self, data: bytes) -> None:
        """See `asyncio.Protocol`."""
        head_alone = self._in_head or self._between
        if head_alone and b"h2c" in data:
            data = _without_offer(data)
        super().data_received(data)
        if self._in_head:
            if self._patience is None:
                self._wait_for_head()
            if head_alone:
                self._received += len(data)
                # A header that does not end is kept by the parser as it grows.
                if self._received > 2 * self._limits.headers:
                    self._refuse_head()

    def on_message_begin(self) -> None:
        """A head begins."""
        self._in_head, self._between, self._header_bytes = True, False, 0
        self.url = b""
        self.expect_100_continue = False
        self.headers = []

    def on_header(self, name: bytes, value: bytes) -> None:
        """One header is there."""
        self._header_bytes += len(name) + len(value)
        headers = self.headers
        if self._header_bytes > self._limits.headers or len(headers) >= self._limits.header_count:
            self._refuse_head()
            return
        name = name.lower()
        if name == b"expect" and value.lower() == b"100-continue":
            self.expect_100_continue = True
        headers.append((name, value))

    def on_headers_complete(self) -> None:
        """The head is there."""
        self._in_head, self._received = False, 0
        self._silent_since = None
        if self._patience is not None:
            self._head_came()
        if self.transport.is_closing():
            return
        scope = {**self._always, "headers": self.headers}
        self.scope = cast("HTTPScope", scope)
        if self._answer is not None and self._asks():
            scope.update(_FORWARD_SCOPE)
            self._take(Exchange(self, self._answer, keep_alive=self.parser.should_keep_alive()))
        else:
            scope["state"] = self.app_state.copy()
            super().on_headers_complete()

    def _asks(self) -> bool:
        """Whether this is a question to `FORWARD` as most are: with nothing that ASGI's stack looks after."""
        parser = self.parser
        return (
            self.url == _FORWARD_SCOPE["raw_path"]
            and parser.get_method() == b"POST"
            and parser.get_http_version() == "1.1"
            and not self.expect_100_continue
            and not parser.should_upgrade()
            and not any(name == b"origin" for name, _ in self.headers)
        )

    def _take(self, exchange: Exchange) -> None:
        """As uvicorn takes a request: at once, or behind those before it on this connection."""
        before: RequestResponseCycle | None = self.cycle
        self.cycle = exchange
        if before is None or before.response_complete:
            self._start_asgi_task(exchange, self.app)
        else:
            self.flow.pause_reading()
            self.pipeline.appendleft((exchange, self.app))

    def _start_asgi_task(self, cycle: RequestResponseCycle, app: Any) -> None:
        self._running = cycle
        super()._start_asgi_task(cycle, app)

    def _should_upgrade(self) -> bool:
        """Not where the head was refused: it has no scope."""
        return not self.transport.is_closing() and super()._should_upgrade()

    def on_response_complete(self) -> None:
        """An answer is written."""
        if self.pipeline or self.transport.is_closing():
            super().on_response_complete()
            return
        self.server_state.total_requests += 1
        self.flow.resume_reading()
        self._silent_since = self.loop.time()
        if self.timeout_keep_alive_task is None:
            self._look_again_in(self.timeout_keep_alive)

    def timeout_keep_alive_handler(self) -> None:
        """Close a connection that has said nothing for long enough."""
        self.timeout_keep_alive_task = None
        if self._silent_since is None:
            return
        left = self._silent_since + self.timeout_keep_alive - self.loop.time()
        if left > 0:
            self._look_again_in(left)
        else:
            super().timeout_keep_alive_handler()

    def _look_again_in(self, seconds: float) -> None:
        self.timeout_keep_alive_task = self.loop.call_later(seconds, self.timeout_keep_alive_handler)

    def _unset_keepalive_if_required(self) -> None:
        """The timer stays: what it looks at ends with the next head, and not with whatever byte is sent."""

    def on_body(self, body: bytes) -> None:
        """A piece of the body."""
        if not self.transport.is_closing():
            super().on_body(body)

    def on_message_complete(self) -> None:
        """The body has ended."""
        self._between = True
        if not self.transport.is_closing():
            super().on_message_complete()

    def send_400_response(self, msg: str) -> None:
        """What came is not HTTP."""
        self._end(HTTPStatus.BAD_REQUEST, "schema", "this is not HTTP")

    def _wait_for_head(self) -> None:
        self._patience = self.loop.call_later(self._idle, self.transport.close)

    def _head_came(self) -> None:
        if self._patience is not None:
            self._patience.cancel()
            self._patience = None

    def _refuse_head(self) -> None:
        limits = self._limits
        most = f"at most {limits.header_count} headers of {limits.headers} bytes in all are taken"
        self._end(HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE, "too_large", most)

    def _end(self, status: HTTPStatus, code: str, detail: str, headers: dict[str, str] | None = None) -> None:
        """Answer without the application, and close."""
        if self.transport.is_closing():
            return
        problem = Problem(status, code, detail, {**(headers or {}), "connection": "close"})
        lines = [f"HTTP/1.1 {status.value} {status.phrase}".encode()]
        lines += [b"%b: %b" % header for header in problem.raw_headers]
        self.transport.write(b"\r\n".join((*lines, b"", bytes(problem.body))))
        self.transport.close()


def _without_offer(data: bytes) -> bytes:
    """Java's and curl's clients offer HTTP/2 with a request; the parser drops the body of one that it takes for such.

    An offer may be ignored, and is where it is seen: in a head that came in one piece.
    """
    head, end, body = data.partition(b"\r\n\r\n")
    return _HTTP2_OFFER.sub(b"", head + b"\r\n")[:-2] + end + body if end else data
