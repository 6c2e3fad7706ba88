"""A server that plays a script with each client, and the backends' HTTP client that calls it."""

import asyncio
import contextlib
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine
from contextlib import asynccontextmanager
from typing import Any
from urllib.parse import urlsplit

import pytest
import uvloop

from workers.backends.http_client import HttpClient, HttpPolicy
from workers.core.errors import MessageError

OK = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nhi"
NEVER = 3600.0  # a time limit that ends nothing: what should end must end by itself


class Guest:
    """One client's connection, as the server's script sees it."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self.writer = writer
        self.requests: list[bytes] = []
        self.gone = asyncio.Event()

    async def asked(self) -> bytes:
        """The next request, head and body."""
        head = await self._reader.readuntil(b"\r\n\r\n")
        length = [
            line.split(b":")[1] for line in head.lower().split(b"\r\n") if line.startswith(b"content-l")
        ]
        self.requests.append(head + await self._reader.readexactly(int(length[0]) if length else 0))
        return self.requests[-1]

    async def leaves(self) -> None:
        """Wait for the client to hang up."""
        while await self._reader.read(1000):
            pass
        self.gone.set()


Script = Callable[[Guest], Awaitable[None]]


async def answers(guest: Guest) -> None:
    """Answer everything."""
    while True:
        await guest.asked()
        guest.writer.write(OK)


async def silent(guest: Guest) -> None:
    """Take one request and say nothing."""
    await guest.asked()
    await guest.leaves()


async def answers_once_and_closes_at_the_next(guest: Guest) -> None:
    await guest.asked()
    guest.writer.write(OK)
    await guest.asked()


class Server:
    """Plays a script with every client; the last one again and again."""

    def __init__(self, *scripts: Script) -> None:
        self._scripts = scripts
        self._running: set[asyncio.Task[None]] = set()
        self.guests: list[Guest] = []
        self.address = ""

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        guest = Guest(reader, writer)
        self.guests.append(guest)
        script = self._scripts[min(len(self.guests), len(self._scripts)) - 1]
        try:
            with contextlib.suppress(asyncio.IncompleteReadError, ConnectionError):
                await script(guest)
        finally:
            guest.gone.set()
            writer.close()

    @property
    def requests(self) -> int:
        return sum(len(guest.requests) for guest in self.guests)


@asynccontextmanager
async def serving(*scripts: Script, tls: ssl.SSLContext | None = None) -> AsyncIterator[Server]:
    server = Server(*scripts)
    async with await asyncio.start_server(server.serve, "127.0.0.1", 0, ssl=tls) as listening:
        server.address = f"http{'s' if tls else ''}://127.0.0.1:{listening.sockets[0].getsockname()[1]}"
        yield server
        for guest in server.guests:
            guest.writer.transport.abort()
        for guest in server.guests:
            await guest.gone.wait()


@asynccontextmanager
async def calling(address: str, **policy: float) -> AsyncIterator[HttpClient]:
    bounds = HttpPolicy(**{"connect_timeout": NEVER, **policy})  # type: ignore[arg-type]  # ints too
    client = HttpClient("host:1", urlsplit(address), policy=bounds)
    try:
        yield client
    finally:
        await client.close()


async def get(client: HttpClient, seconds: float = NEVER) -> bytes:
    return (await client.request("GET", "/", seconds=seconds)).body


async def failure(client: HttpClient, seconds: float = NEVER) -> MessageError:
    with pytest.raises(MessageError) as caught:
        await get(client, seconds)
    return caught.value


Scenario = Callable[[], Coroutine[Any, Any, None]]


def on_the_loop_of_workers(scenario: Scenario) -> None:
    """A test once more, on uvloop."""
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(scenario())


def called(scenario: Scenario) -> str:
    """For a test's id."""
    return scenario.__name__.removeprefix("test_")
