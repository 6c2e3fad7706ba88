"""Many questions on one gRPC stream, many in a message: what holds for a call holds for each of them."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import grpc
import orjson
import pytest
from grpc import aio

from schemas import headers as h
from schemas import relayfleet_pb2 as wire
from schemas.relayfleet_pb2_grpc import MessageRouterStub
from tests.integration.test_grpc_server import running
from tests.support import eventually
from tests.unit.gateway.world import World
from workers.core.records import Received
from workers.core.topology.gateway import Gateway, Limits
from workers.core.topology.tenants import Tenant
from workers.gateway import grpc_desk
from workers.gateway.auth import hash_of, new_key
from workers.gateway.grpc_server import GrpcServer

KEY = new_key()
SETTINGS = Gateway(confirm=1)
PATIENCE = 120.0


class Stream:
    """A client's end: each question's id is its message's too. Replies are kept in the order in which they came."""

    def __init__(self, call: Any) -> None:
        self.call = call
        self.replies: dict[str, wire.ResponseMessage] = {}

    async def ask(self, *names: str, text: str = "hi", **fields: Any) -> None:
        """Send questions, all in one message."""
        asked = wire.RequestMessage(input_text=text)
        questions = [
            wire.ConverseRequest(id=name, message_id=name, request=asked, **fields) for name in names
        ]
        await self.call.write(wire.ConverseRequests(requests=questions))

    async def until(self, *names: str) -> None:
        """Read until these are answered."""
        while not self.replies.keys() >= set(names):
            for reply in (await self.call.read()).replies:
                self.replies[reply.id] = reply.response

    def failed(self, name: str) -> str:
        """The error class of a question that was refused."""
        assert self.replies[name].status == "error"
        return self.replies[name].payload.error.code


@asynccontextmanager
async def opened(
    settings: Gateway = SETTINGS, metadata: Any = (), **tenants: Tenant
) -> AsyncIterator[tuple[World, GrpcServer, Stream]]:
    async with (
        running(settings, 0, **tenants) as (world, server),
        aio.insecure_channel(server.address) as channel,
    ):
        stub: Any = MessageRouterStub(channel)
        call = stub.ConverseMany(metadata=metadata, timeout=PATIENCE)
        yield world, server, Stream(call)
        call.cancel()


def names_of(world: World) -> dict[str, Received]:
    """What the broker has, by message id."""
    return {orjson.loads(record.value or b"")["message_id"]: record for record in world.requests()}


async def asked(world: World, *names: str) -> list[Received]:
    """The records of these questions."""
    await eventually(lambda: names_of(world).keys() >= set(names))
    records = names_of(world)
    return [records[name] for name in names]


async def test_answers_come_in_the_order_in_which_they_are_ready() -> None:
    async with opened() as (world, _, stream):
        await stream.ask("a", "b", "c", text="x")
        for record, name in zip(await asked(world, *"bca"), "bca", strict=True):
            world.reply(record, "an answer")
            await stream.until(name)
        assert list(stream.replies) == ["b", "c", "a"]
        assert {answer.payload.text for answer in stream.replies.values()} == {"an answer"}
        await stream.call.done_writing()
        assert await stream.call.code() is grpc.StatusCode.OK


async def test_what_is_refused_is_told_and_the_others_are_answered() -> None:
    async with opened(Gateway(confirm=1, limits=Limits(text=10))) as (world, _, stream):
        await stream.ask("a", "a", "")
        await stream.ask("long", text="x" * 11)
        await stream.ask("lost", target="nowhere")
        await stream.until("a", "", "long", "lost")
        refused = {name: stream.failed(name) for name in ("a", "", "long", "lost")}
        assert refused == {"a": "schema", "": "schema", "long": "too_large", "lost": "unroutable"}
        [record] = await asked(world, "a")
        world.reply(record)
        del stream.replies["a"]
        await stream.until("a")
        assert stream.replies["a"].status == "ok"


async def test_a_failure_of_the_fleet_is_told_with_its_reason() -> None:
    async with opened() as (world, _, stream):
        await stream.ask("a")
        [record] = await asked(world, "a")
        error = {
            "code": "rate_limited",
            "reason": "later, sk-0123456789",
            "retryable": True,
            "retry_after": 3.5,
        }
        world.reply(record, status="error", payload={"error": error})
        await stream.until("a")
        told = stream.replies["a"].payload.error
        assert (stream.failed("a"), told.retryable, told.retry_after) == ("rate_limited", True, 3.5)
        assert told.reason == "later, ***"


async def test_an_answer_that_is_none_fails_its_question_alone() -> None:
    async with opened() as (world, _, stream):
        await stream.ask("a", "b")
        records = await asked(world, "a", "b")
        world.reply(records[0], payload="nothing")
        world.reply(records[1])
        await stream.until("a", "b")
        assert (stream.failed("a"), stream.replies["b"].status) == ("internal", "ok")
        assert stream.replies["a"].payload.error.reason == "the answer can't be read"


async def test_each_question_has_its_own_deadline(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(grpc_desk, "_GRACE", 0.0)
    async with opened() as (world, _, stream):
        await stream.ask("none", timeout=0.0)
        await stream.ask("some", timeout=50.0)
        await stream.ask("long", timeout=float("nan"))
        records = await asked(world, "none", "some", "long")
        none, some, long = (
            int(dict(record.headers)[h.DEADLINE] or 0) / 1000 - world.clock.wall() for record in records
        )
        assert (none, some) == pytest.approx((0.0, 50.0), abs=0.01)
        assert 50 < long < 2 * PATIENCE  # what its message says of the time is rounded up
        await stream.until("none")
        assert stream.failed("none") == "timeout"
        for record in records[1:]:
            world.reply(record)
        await stream.until("some", "long")
        assert {stream.replies[name].status for name in ("some", "long")} == {"ok"}


async def test_a_tenants_rate_holds_for_each_question() -> None:
    acme = Tenant(keys=(hash_of(KEY),), rate=0.5, burst=2)
    async with opened(metadata=(("x-api-key", KEY),), acme=acme) as (world, _, stream):
        await stream.ask("a", "b", "c")
        await stream.until("c")
        assert (stream.failed("c"), stream.replies["c"].payload.error.retry_after) == ("rate_limited", 2.0)
        world.clock.advance(2.0)
        await stream.ask("d")
        records = await asked(world, "a", "b", "d")
        assert {dict(record.headers)[h.TENANT] for record in records} == {b"acme"}


async def test_nobody_asks_on_with_a_key_that_was_taken_away() -> None:
    acme, other = Tenant(keys=(hash_of(KEY),)), Tenant(keys=(hash_of(new_key()),))
    async with opened(metadata=(("x-api-key", KEY),), acme=acme) as (world, server, stream):
        await stream.ask("a")
        await asked(world, "a")
        server.parts.authenticator.follow({"acme": other})
        world.clock.advance(2.0)
        await stream.ask("b")
        assert await stream.call.code() is grpc.StatusCode.UNAUTHENTICATED
        assert len(world.requests()) == 1
        await eventually(lambda: not len(world.registry))


async def test_a_key_that_was_taken_away_asks_no_further_question_of_a_message_that_came_before() -> None:
    acme, other = Tenant(keys=(hash_of(KEY),)), Tenant(keys=(hash_of(new_key()),))
    settings = Gateway(confirm=1, limits=Limits(in_flight_per_client=1))
    async with opened(settings, (("x-api-key", KEY),), acme=acme) as (world, server, stream):
        await stream.ask("a", "b")
        [record] = await asked(world, "a")
        server.parts.authenticator.follow({"acme": other})
        world.clock.advance(2.0)
        world.reply(record)
        assert await stream.call.code() is grpc.StatusCode.UNAUTHENTICATED
        assert len(world.requests()) == 1


async def test_too_many_at_once_wait_for_their_turn_and_none_is_refused() -> None:
    async with opened(Gateway(confirm=1, limits=Limits(in_flight_per_client=2))) as (world, _, stream):
        names = [str(number) for number in range(9)]
        await stream.ask(*names)
        for name in names:
            [record] = await asked(world, name)
            assert world.relay.admission.in_flight <= 2
            world.reply(record)
        await stream.until(*names)
        assert {answer.status for answer in stream.replies.values()} == {"ok"}


async def test_a_question_that_is_given_up_gives_its_place_back() -> None:
    async with opened() as (world, _, stream):
        await stream.ask("a", "b")
        await asked(world, "a", "b")
        given_up = wire.ConverseRequest(id="a", cancel=wire.Cancel())
        await stream.call.write(wire.ConverseRequests(requests=[given_up]))
        await eventually(lambda: world.relay.admission.in_flight == 1)


async def test_a_client_that_goes_away_gives_all_places_back() -> None:
    async with opened() as (world, _, stream):
        await stream.ask(*"abcdef")
        await asked(world, *"abcdef")
        stream.call.cancel()
        await eventually(lambda: world.relay.admission.in_flight == 0 and not len(world.registry))


async def test_a_client_that_reads_nothing_is_not_listened_to_for_ever() -> None:
    limits = Limits(in_flight_per_client=4, stream_buffer=100_000)
    async with opened(Gateway(confirm=1, limits=limits)) as (world, _, stream):
        names = [str(number) for number in range(200)]
        await stream.ask(*names)
        large, done = "y" * 100_000, set[str]()

        def stuck() -> bool:
            """Answer what is asked; whether nothing more is asked although nobody waits for an answer."""
            new = names_of(world).keys() - done
            for name in new:
                world.reply(names_of(world)[name], large)
            done.update(new)
            return not new and bool(done) and world.relay.admission.in_flight == 0

        await eventually(stuck)
        assert len(done) < 100
        reading = asyncio.create_task(stream.until(*names))
        await eventually(lambda: stuck() and reading.done(), 60.0, interval=0.001)
        await reading
        assert {len(answer.payload.text) for answer in stream.replies.values()} == {len(large)}


async def test_a_gateway_that_stops_answers_what_it_took_and_tells_the_rest_to_ask_elsewhere() -> None:
    async with opened() as (world, _, stream):
        await stream.ask("a")
        [record] = await asked(world, "a")
        world.relay.stop()
        await stream.ask("b")
        await stream.until("b")
        assert (stream.failed("b"), stream.replies["b"].payload.error.retryable) == ("connect", True)
        world.reply(record)
        await stream.until("a")
        assert stream.replies["a"].status == "ok"


async def test_the_record_of_a_question_is_that_of_a_single_call() -> None:
    async with opened(metadata=(("x-relay-source", "shop"), ("x-relay-target", "orders"))) as (
        world,
        _,
        stream,
    ):
        await stream.ask("a")
        await stream.ask("b", target="llm")
        first, second = await asked(world, "a", "b")
        fields = orjson.loads(first.value or b"")
        assert (fields["source"], fields["payload"]["text"]) == ("shop", "hi")
        assert [dict(record.headers)[h.TARGET] for record in (first, second)] == [b"orders", b"llm"]
