"""Questions that are answered without ASGI between: what clients see on a real connection is what ASGI's way gives."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import orjson
import pytest

from tests.support import eventually
from tests.unit.gateway.world import World
from workers.core.deadlines import Deadline
from workers.core.records import Received
from workers.core.topology.gateway import Cors, Gateway, Limits
from workers.gateway.app import build_app
from workers.gateway.auth import Authenticator
from workers.gateway.front import Parts
from workers.gateway.http_server import HttpServer

BODY = b'{"text":"hi"}'


class Connection:
    """One connection to a gateway whose fleet answers by hand."""

    def __init__(
        self, world: World, server: HttpServer, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        self.world = world
        self._server = server
        self._reader = reader
        self._writer = writer
        self._answered: set[str] = set()

    @property
    def under_way(self) -> int:
        """Questions whose heads have come."""
        running = self._server._server
        return len(running.server_state.tasks) if running is not None else 0

    @property
    def queued(self) -> int:
        """Questions whose heads have come, and which wait for the answer of one before them."""
        running = self._server._server
        connections: set[Any] = set(running.server_state.connections) if running is not None else set()
        return sum(len(each.pipeline) for each in connections)

    def hang_up(self) -> None:
        """Close without waiting for an answer."""
        self._writer.close()

    def say(self, *headers: bytes, target: bytes = b"/api/forward HTTP/1.1", body: bytes = BODY) -> None:
        """Send a question, or the beginning of one."""
        lines = (b"POST " + target, b"host: localhost", b"content-type: application/json", *headers)
        length = b"content-length: %d" % len(BODY)
        self._writer.write(b"\r\n".join((*lines, length, b"", body)))

    def write(self, data: bytes) -> None:
        """Send these bytes."""
        self._writer.write(data)

    async def reply(self, text: str, message_id: bytes = b"", **fields: object) -> None:
        """The fleet answers the question with this id, else the one that it has not answered."""

        def asked() -> list[Received]:
            left = [each for each in self.world.requests() if each.position not in self._answered]
            return [each for each in left if message_id in (each.value or b"")]

        (request, *_) = await eventually(asked)
        self._answered.add(request.position)
        self.world.reply(request, text, **fields)

    async def read(self) -> tuple[bytes, bytes]:
        """The head and the body of the next answer."""
        head = await asyncio.wait_for(self._reader.readuntil(b"\r\n\r\n"), 20)
        length = next((line for line in head.split(b"\r\n") if line.startswith(b"content-length: ")), b": 0")
        return head, await asyncio.wait_for(self._reader.readexactly(int(length.split()[-1])), 20)

    async def rest(self) -> bytes:
        """What comes until the gateway closes the connection."""
        return await asyncio.wait_for(self._reader.read(), 20)


@asynccontextmanager
async def connected(settings: Gateway | None = None) -> AsyncIterator[Connection]:
    settings = settings or Gateway(confirm=1)
    world = await World(settings=settings).start()
    parts = Parts(world.relay, Authenticator(settings, {}, None), settings, world.metrics, world.clock)
    server = HttpServer(build_app(parts), settings, "127.0.0.1", 0)
    await server.start()
    reader, writer = await asyncio.open_connection("127.0.0.1", int(server.address.rpartition(":")[2]))
    try:
        yield Connection(world, server, reader, writer)
    finally:
        writer.close()
        await server.stop(Deadline.after(1))
        await world.stop()


def text_of(body: bytes) -> str:
    text: str = orjson.loads(body)["payload"]["text"]
    return text


async def test_a_connection_is_kept_and_every_answer_says_whose_it_is() -> None:
    async with connected() as client:
        for number in (1, 2):
            client.say(b"x-request-id: mine-%d" % number, b"idempotency-key: k%d" % number)
            await client.reply(f"hello {number}")
            head, body = await client.read()
            assert head.startswith(b"HTTP/1.1 200 OK\r\n")
            assert text_of(body) == f"hello {number}"
            lines = head.split(b"\r\n")
            assert b"x-request-id: mine-%d" % number in lines
            assert b"content-location: /api/responses/k%d" % number in lines
            assert {b"x-content-type-options: nosniff", b"content-type: application/json"} < set(lines)
            assert not head.count(b"connection: close")


async def test_questions_sent_without_waiting_are_answered_in_their_order() -> None:
    async with connected() as client:
        client.say(b"idempotency-key: one")
        client.say(b"idempotency-key: two", b"prefer: wait=0")
        client.say(b"idempotency-key: three")
        await client.reply("first", b"one")
        assert text_of((await client.read())[1]) == "first"
        assert (await client.read())[0].startswith(b"HTTP/1.1 202")
        await client.reply("third", b"three")
        assert text_of((await client.read())[1]) == "third"


@pytest.mark.parametrize(
    "headers", [(b"connection: close",), (b"expect: 100-continue", b"connection: close")]
)
async def test_a_connection_is_closed_when_its_client_wants_that(headers: tuple[bytes, ...]) -> None:
    async with connected() as client:
        client.say(*headers, body=b"")
        if b"expect: 100-continue" in headers:
            assert (await client.read())[0] == b"HTTP/1.1 100 Continue\r\n\r\n"
        client.write(BODY)
        await client.reply("bye")
        head, body = await client.read()
        assert b"\r\nconnection: close\r\n" in head
        assert text_of(body) == "bye"
        assert await client.rest() == b""


async def test_a_client_of_http_1_0_is_answered_and_closed() -> None:
    async with connected() as client:
        client.say(target=b"/api/forward HTTP/1.0")
        await client.reply("hello")
        assert text_of((await client.read())[1]) == "hello"
        assert await client.rest() == b""


async def test_a_body_that_comes_in_pieces_is_read_whole() -> None:
    async with connected() as client:
        client.say(body=BODY[:5])
        await eventually(lambda: client.under_way)
        client.write(BODY[5:])
        await client.reply("hello")
        assert text_of((await client.read())[1]) == "hello"


async def test_a_page_of_another_origin_is_told_whether_it_may_read() -> None:
    async with connected(Gateway(confirm=1, cors=Cors(origins=("https://app.example",)))) as client:
        client.say(b"origin: https://app.example")
        await client.reply("hello")
        assert b"access-control-allow-origin: https://app.example" in (await client.read())[0]


async def test_an_answer_may_be_a_stream_or_a_problem() -> None:
    async with connected() as client:
        client.say()
        error = {"code": "timeout", "reason": "too slow", "retryable": True}
        await client.reply("", status="error", payload={"error": error})
        head, body = await client.read()
        assert head.startswith(b"HTTP/1.1 504")
        assert b"content-type: application/problem+json" in head
        assert orjson.loads(body)["detail"] == "too slow"
        client.say(b"accept: text/event-stream", b"connection: close")
        await client.reply("hello")
        told = await client.rest()
        assert b"content-type: text/event-stream" in told
        assert b"event: response\r\n" in told.replace(b"\n", b"\r\n")


async def test_a_connection_that_was_used_is_closed_after_it_has_said_nothing_for_long_enough() -> None:
    async with connected(Gateway(confirm=1, idle=1)) as client:
        client.say()
        await client.reply("one")
        await client.read()
        assert await client.rest() == b""


async def test_bytes_that_begin_no_request_keep_no_connection_open() -> None:
    async with connected(Gateway(confirm=1, idle=1)) as client:
        client.say()
        await client.reply("one")
        await client.read()
        client.write(b"\r\n")
        assert await client.rest() == b""


async def test_a_client_that_is_gone_gives_back_the_place_of_a_question_that_others_wait_behind() -> None:
    async with connected() as client:
        client.say(b"idempotency-key: one")
        await eventually(client.world.requests)
        client.say(b"idempotency-key: two")
        await eventually(lambda: client.queued)
        client.hang_up()
        await eventually(lambda: client.world.relay.admission.in_flight == 0)


async def test_an_upgrade_with_too_many_headers_is_refused_as_any_other() -> None:
    async with connected() as client:
        many = [b"x-%d: 1" % number for number in range(500)]
        client.say(b"connection: upgrade", b"upgrade: websocket", *many)
        assert (await client.read())[0].startswith(b"HTTP/1.1 431")
        assert await client.rest() == b""


async def test_a_question_too_many_is_refused_and_the_next_one_is_taken() -> None:
    limits = Limits(in_flight=1, in_flight_per_client=1)
    async with connected(Gateway(confirm=1, limits=limits)) as client:
        admission = client.world.relay.admission
        admission.enter("somebody", None)
        client.say()
        head, body = await client.read()
        assert head.startswith(b"HTTP/1.1 429")
        assert orjson.loads(body)["code"] == "rate_limited"
        admission.leave("somebody")
        client.say()
        await client.reply("hello")
        assert text_of((await client.read())[1]) == "hello"
        await eventually(lambda: admission.in_flight == 0)
