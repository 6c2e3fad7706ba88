"""HTTP/1.1 for the stub model, straight on an asyncio protocol: a framework would cost more than the answers."""

import asyncio
from collections.abc import Callable, Sequence
from http import HTTPStatus
from typing import Any, Literal, NamedTuple, cast

import httptools
import orjson

_MAX_BODY = 64 * 1024 * 1024
_PHRASES = {status.value: status.phrase for status in HTTPStatus}


class Request(NamedTuple):
    """What was asked. `call_id` is the `x-request-id` header."""

    method: bytes
    path: bytes
    call_id: str | None
    body: bytes


class Reply:
    """Where the answer to one request goes. Nothing happens once the client is gone."""

    def __init__(self, transport: asyncio.Transport, keep_alive: bool) -> None:
        self._transport = transport
        self._keep_alive = keep_alive

    def json(self, status: int, body: Any, *, retry_after: str | None = None) -> None:
        """Answer with a JSON body."""
        extra = f"Retry-After: {retry_after}\r\n" if retry_after is not None else ""
        self.raw(status, orjson.dumps(body), extra)

    def raw(self, status: int, body: bytes, extra: str = "") -> None:
        """Answer with these bytes, called JSON; `extra` holds whole header lines."""
        head = self._head(status, "application/json", f"{extra}Content-Length: {len(body)}\r\n")
        self._write(head + body)
        self._end()

    def stream(self, pieces: Sequence[bytes], delay: float, *, then: Literal["end", "reset"] = "end") -> None:
        """Answer with server-sent events, `delay` seconds apart."""
        self._write(self._head(200, "text/event-stream", "Transfer-Encoding: chunked\r\n"))
        self._next(pieces, delay, then)

    def reset(self) -> None:
        """Break the connection without another byte."""
        self._transport.abort()

    def later(self, seconds: float, action: "Callable[[Reply], None]") -> None:
        """Do `action` after a while."""
        asyncio.get_running_loop().call_later(seconds, action, self)

    def _next(self, pieces: Sequence[bytes], delay: float, then: Literal["end", "reset"]) -> None:
        if delay and len(pieces) > 1:
            self._write(_chunk(pieces[0]))
            self.later(delay, lambda reply: reply._next(pieces[1:], delay, then))  # noqa: SLF001 - itself
            return
        self._write(b"".join(map(_chunk, pieces)) + (b"0\r\n\r\n" if then == "end" else b""))
        if then == "reset":
            self._transport.close()
        else:
            self._end()

    def _head(self, status: int, content_type: str, extra: str) -> bytes:
        connection = "" if self._keep_alive else "Connection: close\r\n"
        return (
            f"HTTP/1.1 {status} {_PHRASES.get(status, 'Unknown')}\r\n"
            f"Content-Type: {content_type}\r\n{connection}{extra}\r\n"
        ).encode()

    def _write(self, data: bytes) -> None:
        if not self._transport.is_closing():
            self._transport.write(data)

    def _end(self) -> None:
        if not self._keep_alive:
            self._transport.close()


class HttpConnection(asyncio.Protocol):
    """One client. Requests are answered in the order they come; none of our clients pipelines them."""

    def __init__(self, handle: Callable[[Request, Reply], None], connections: "set[HttpConnection]") -> None:
        self._handle = handle
        self._connections = connections
        self._transport: asyncio.Transport | None = None
        self._parser = httptools.HttpRequestParser(self)
        self.on_message_begin()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """See `asyncio.Protocol`."""
        # A stream server gives no other kind, but uvloop's does not inherit from asyncio's.
        self._transport = cast("asyncio.Transport", transport)
        self._connections.add(self)

    def connection_lost(self, exc: Exception | None) -> None:
        """See `asyncio.Protocol`."""
        self._connections.discard(self)

    def data_received(self, data: bytes) -> None:
        """See `asyncio.Protocol`."""
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserError:
            self.close()

    def close(self) -> None:
        """Let the client go at once."""
        if self._transport is not None:
            self._transport.abort()

    def on_message_begin(self) -> None:
        """A request begins (called by the parser, as the next four)."""
        self._path = b""
        self._call_id: str | None = None
        self._body = b""

    def on_url(self, url: bytes) -> None:
        """A piece of the path."""
        self._path += url

    def on_header(self, name: bytes, value: bytes) -> None:
        """A header."""
        if name.lower() == b"x-request-id":
            self._call_id = value.decode("latin-1")

    def on_body(self, body: bytes) -> None:
        """A piece of the body."""
        self._body += body
        if len(self._body) > _MAX_BODY:
            self.close()

    def on_message_complete(self) -> None:
        """The request is whole."""
        if self._transport is None or self._transport.is_closing():
            return
        reply = Reply(self._transport, self._parser.should_keep_alive())
        path = self._path.partition(b"?")[0]
        self._handle(Request(self._parser.get_method(), path, self._call_id, self._body), reply)


def _chunk(data: bytes) -> bytes:
    return f"{len(data):x}\r\n".encode() + data + b"\r\n"
