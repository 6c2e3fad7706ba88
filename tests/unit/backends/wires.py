"""An HTTP connection of the backends without a network: what it writes and hears, and what its owner is told."""

import asyncio
from typing import Any, cast

from workers.backends.http_connection import HttpConnection, HttpResponse, Result, Tell
from workers.core.errors import MessageError

LIMIT = 1000
OK = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nhi"
CHUNKED = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"


class Wire:
    """A transport that only remembers."""

    def __init__(self) -> None:
        self.written = b""
        self.unsent = 0
        self.closed = False
        self.reading = True

    def write(self, data: bytes) -> None:
        self.written += data

    def is_closing(self) -> bool:
        return self.closed

    def abort(self) -> None:
        self.closed = True

    def get_write_buffer_size(self) -> int:
        return self.unsent

    def pause_reading(self) -> None:
        self.reading = False

    def resume_reading(self) -> None:
        self.reading = True


class Server:
    """A connection, and what its owner hears of it."""

    name = "host:1"

    def __init__(self) -> None:
        self.freed = 0
        self.lost = 0
        self.wire = Wire()
        self.tell: Tell = lambda _: None  # of the last request
        self.connection = HttpConnection(self, asyncio.get_running_loop())
        self.connection.connection_made(cast("asyncio.Transport", self.wire))

    def free(self, connection: HttpConnection) -> None:
        self.freed += 1

    def gone(self, connection: HttpConnection) -> None:
        self.lost += 1

    def ask(
        self, *, streamed: bool = False, head: bool = False, seconds: float = 3600
    ) -> "asyncio.Future[Any]":
        loop = asyncio.get_running_loop()
        answer: asyncio.Future[Any] = loop.create_future()

        def tell(result: Result) -> None:
            if isinstance(result, Exception):
                answer.set_exception(result)
            else:
                answer.set_result(result)

        self.tell = tell
        self.connection.send(b"?", loop.time() + seconds, LIMIT, tell, streamed=streamed, head=head)
        return answer

    def say(self, *pieces: bytes) -> None:
        for piece in pieces:
            if not self.wire.closed:
                self.connection.data_received(piece)

    async def answered(self) -> None:
        """Serve one request."""
        answer = self.ask()
        self.say(OK)
        await answer

    def hang_up(self) -> None:
        self.connection.eof_received()
        self.connection.connection_lost(None)


def failure(answer: "asyncio.Future[Any]") -> MessageError:
    error = answer.exception()
    assert isinstance(error, MessageError)
    return error


async def whole(*pieces: bytes, head: bool = False) -> HttpResponse:
    server = Server()
    answer = server.ask(head=head)
    server.say(*pieces)
    response = answer.result()
    assert isinstance(response, HttpResponse)
    return response
