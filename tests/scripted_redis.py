"""A Redis that is none, and says what a test tells it to."""

import asyncio
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

import hiredis

from tests.support import eventually

Reply = Callable[[int, list[bytes]], Awaitable[bytes | None]]
"""What to say to a script, by the number of the connection and the command; None hangs up."""


class Server:
    """It says yes to who signs in, and what the test says to scripts."""

    def __init__(self, reply: Reply) -> None:
        self._reply = reply
        self.connections = 0
        self.open = 0
        self.asked = 0
        self.url = ""
        self.signs_in = asyncio.Event()
        self.signs_in.set()

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        self.open += 1
        try:
            await self._talk(self.connections, reader, writer)
        finally:
            self.open -= 1
            writer.transport.abort()

    async def _talk(self, number: int, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        parser = hiredis.Reader()
        while data := await reader.read(65536):
            parser.feed(data)
            while (command := parser.gets()) is not False:
                if command[0].startswith(b"EVAL"):
                    self.asked += 1
                    said = await self._reply(number, command)
                else:
                    await self.signs_in.wait()
                    said = b"+OK\r\n"
                if said is None:
                    return
                writer.write(said)


@asynccontextmanager
async def serving(reply: Reply, tls: ssl.SSLContext | None = None) -> AsyncIterator[Server]:
    server = Server(reply)
    async with await asyncio.start_server(server.serve, "127.0.0.1", 0, ssl=tls) as listening:
        scheme = "rediss" if tls else "redis"
        server.url = f"{scheme}://127.0.0.1:{listening.sockets[0].getsockname()[1]}/0"
        yield server
        await eventually(lambda: server.open == 0)
