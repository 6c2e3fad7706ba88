"""A request and its answer on one connection, without ASGI's messages between: for the endpoint that is asked most."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Any, cast

from starlette.datastructures import QueryParams
from starlette.responses import Response
from starlette.types import Receive, Scope, Send
from uvicorn.protocols.http.httptools_impl import STATUS_LINE, RequestResponseCycle

if TYPE_CHECKING:
    from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

JSON = (b"content-type", b"application/json")


class Incoming:
    """A request as its endpoint sees it."""

    __slots__ = ("_exchange", "receive", "scope")

    def __init__(self, scope: Scope, receive: Receive, exchange: "Exchange | None" = None) -> None:
        self.scope = scope
        self.receive = receive
        self._exchange = exchange

    def whole(self) -> bytes | None:
        """The body where all of it has come; `receive` tells nothing of it any more. None: ask `receive`."""
        return self._exchange.take_body() if self._exchange is not None else None

    @property
    def query(self) -> QueryParams:
        """What stands behind the path."""
        return QueryParams(self.scope["query_string"])


class JsonAnswer(Response):
    """A body in JSON with headers that are known to be sound. What starlette's own costs to make is saved."""

    def __init__(self, body: bytes, headers: list[tuple[bytes, bytes]]) -> None:
        self.status_code = 200
        self.background = None
        self.body = body
        self.raw_headers = [*headers, (b"content-length", b"%d" % len(body)), JSON]


Answering = Callable[["Exchange"], Awaitable[None]]


class Exchange(RequestResponseCycle):
    """uvicorn's own record of a request, whose answer can be written at once."""

    def __init__(self, protocol: "HttpToolsProtocol", answering: Answering, *, keep_alive: bool) -> None:
        """`answering` tells every error itself."""
        super().__init__(
            protocol.scope,
            protocol.transport,
            protocol.flow,
            protocol.logger,
            protocol.access_logger,
            access_log=False,
            default_headers=[],
            message_event=asyncio.Event(),
            expect_100_continue=False,
            keep_alive=keep_alive,
            on_response=protocol.on_response_complete,
        )
        self._answering = answering

    @property
    def incoming(self) -> Incoming:
        """The request."""
        return Incoming(cast("Scope", self.scope), cast("Receive", self.receive), self)

    async def run_asgi(self, app: Any) -> None:
        """See `RequestResponseCycle`. The application is passed by."""
        try:
            await self._answering(self)
        finally:
            if not self.response_complete:  # cut off, by the end of the process at the latest
                self.transport.close()
            self.on_response = _nothing

    def take_body(self) -> bytes | None:
        """The body where all of it has come; it is kept here no more."""
        if self.more_body or self.disconnected:
            return None
        body, self.body = bytes(self.body), bytearray()
        self.message_event.clear()
        self.flow.resume_reading()
        return body

    async def answer(self, response: Response, more: list[tuple[bytes, bytes]]) -> None:
        """Write a response, with more headers."""
        if not isinstance(response, JsonAnswer):
            response.raw_headers += more
            await response(cast("Scope", self.scope), cast("Receive", self.receive), cast("Send", self.send))
            return
        if self.flow.write_paused and not self.disconnected:
            await self.flow.drain()
        if self.disconnected:
            return
        content = [STATUS_LINE[response.status_code]]
        for name, value in (*response.raw_headers, *more):
            content += (name, b": ", value, b"\r\n")
        content += (b"\r\n" if self.keep_alive else b"connection: close\r\n\r\n", bytes(response.body))
        self.response_started = self.response_complete = True
        self.message_event.set()
        self.transport.write(b"".join(content))
        if not self.keep_alive:
            self.transport.close()
        self.on_response()


def _nothing() -> None:
    pass
