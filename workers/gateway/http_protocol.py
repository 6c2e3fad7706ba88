"""uvicorn's HTTP protocol with bounds on heads, on connections, and on how long a connection may say nothing."""

import asyncio
import re
from http import HTTPStatus
from typing import Any

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from workers.core.topology.gateway import Gateway
from workers.gateway.certificates import common_name
from workers.gateway.front import CERTIFICATE
from workers.gateway.problems import Problem

_HTTP2_OFFER = re.compile(rb"\r\nupgrade:[ \t]*h2c[ \t]*(?=\r\n)", re.IGNORECASE)


class BoundedHttp(HttpToolsProtocol):
    """One connection. uvicorn itself keeps heads of any size and waits for them without end."""

    def __init__(self, settings: Gateway, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self._limits = settings.limits
        self._idle = settings.idle
        self._in_head = False
        self._between = True  # two messages
        self._received = 0  # bytes of a head that has not ended
        self._header_bytes = 0
        self._patience: asyncio.TimerHandle | None = None
        self._certificate: str | None = None

    def connection_made(self, transport: Any) -> None:
        """See `asyncio.Protocol`."""
        super().connection_made(transport)
        self._certificate = common_name(transport)
        self._wait_for_head()
        if len(self.connections) > self._limits.connections:
            busy = HTTPStatus.SERVICE_UNAVAILABLE
            self._end(busy, "overloaded", "too many connections are open", {"retry-after": "1"})

    def connection_lost(self, exc: Exception | None) -> None:
        """See `asyncio.Protocol`."""
        self._head_came()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """See `asyncio.Protocol`."""
        head_alone = self._in_head or self._between
        if head_alone and b"h2c" in data:
            data = _without_offer(data)
        super().data_received(data)
        if self._in_head and head_alone:
            self._received += len(data)
            # A header that does not end is kept by the parser as it grows.
            if self._received > 2 * self._limits.headers:
                self._refuse_head()

    def on_message_begin(self) -> None:
        """A head begins."""
        self._in_head, self._between, self._header_bytes = True, False, 0
        if self._patience is None:
            self._wait_for_head()
        super().on_message_begin()

    def on_header(self, name: bytes, value: bytes) -> None:
        """One header is there."""
        self._header_bytes += len(name) + len(value)
        if self._header_bytes > self._limits.headers or len(self.headers) >= self._limits.header_count:
            self._refuse_head()
        else:
            super().on_header(name, value)

    def on_headers_complete(self) -> None:
        """The head is there."""
        self._in_head, self._received = False, 0
        self._head_came()
        if self.transport.is_closing():
            return
        if self._certificate is not None:
            self.scope["extensions"] = {CERTIFICATE: {"common_name": self._certificate}}
        super().on_headers_complete()

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
