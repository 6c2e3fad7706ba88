"""Pieces of answers: published while the call lasts, numbered, all of them before the response."""

import asyncio
from collections.abc import Mapping, Sequence
from typing import Any

import orjson
import pytest

from schemas import headers as h
from schemas.chunk import Chunk
from schemas.codec import decode_chunk
from schemas.errors import ErrorClass
from schemas.events import Step
from schemas.headers import Headers
from tests.support import eventually
from tests.unit.inference.world import TOPIC, World, envelope
from workers.backends.memory import MemoryBackend
from workers.core.errors import PermanentError, TransientError
from workers.core.ports import Answer, Call, Piece
from workers.core.records import Outgoing, Received
from workers.stores.memory import MemoryOutcomeStore

BROKE = TransientError(ErrorClass.CONNECT, "broke off its answer")
WORDS = [Piece("Hel", model="m"), Piece("lo"), Piece(finish_reason="stop")]


class SteppedBackend(MemoryBackend):
    """Gives its pieces one by one, each when it is told to."""

    def __init__(self) -> None:
        super().__init__()
        self.sinks: list[Any] = []
        self.done = asyncio.Event()

    async def call(self, call: Call) -> Answer:
        """See `Backend`."""
        self.sinks.append(call.sink)
        await self.done.wait()
        return self.default if isinstance(self.default, Answer) else Answer("")


def ask(world: World, message_id: str = "a", headers: Headers = (), key: bytes | None = b"k") -> Received:
    value = envelope(message_id, payload={"text": "hello", "stream": True})
    return world.broker.append(Outgoing(TOPIC, key, value, headers, partition=0))


def records(world: World) -> list[Received]:
    return world.broker.records("model_chunks")


def chunks(world: World) -> list[Chunk]:
    return [decode_chunk(record.value, record.headers) for record in records(world)]


def told(chunks: Sequence[Chunk]) -> str:
    return "".join(chunk.text for chunk in chunks)


async def answered(world: World, count: int = 1) -> None:
    async with world.running():
        await eventually(lambda: len(world.answered) == count)


async def test_the_pieces_are_numbered_and_the_last_says_so(world: World) -> None:
    world.backend.pieces = WORDS
    ask(world)
    await answered(world)
    found = chunks(world)
    assert told(found) == "Hello"
    assert [chunk.index for chunk in found] == list(range(len(found)))
    assert [chunk.final for chunk in found] == [False] * (len(found) - 1) + [True]
    assert (found[0].model, found[-1].finish_reason) == ("m", "stop")
    assert {(chunk.message_id, chunk.attempt, chunk.run) for chunk in found} == {("a", 1, found[0].run)}


async def test_the_first_piece_is_in_kafka_while_the_call_goes_on() -> None:
    backend = SteppedBackend()
    world = World(backends=[backend])
    ask(world)
    async with world.running():
        await eventually(lambda: backend.sinks)
        backend.sinks[0](Piece("first"))
        await eventually(lambda: chunks(world))
        assert not world.answered
        backend.sinks[0](Piece(" second"))
        await eventually(lambda: told(chunks(world)) == "first second")
        backend.done.set()
        await eventually(lambda: world.answered == ["a"])


async def test_a_slow_broker_makes_chunks_longer_and_not_more() -> None:
    backend = SteppedBackend()
    world = World(backends=[backend])
    ask(world)
    async with world.running():
        await eventually(lambda: backend.sinks)
        world.broker.hold_deliveries()
        for number in range(1000):
            backend.sinks[0](Piece(f"{number} "))
        backend.done.set()
        await world.turns()
        assert world.answered == []
        world.broker.release_deliveries()
        await eventually(lambda: world.answered == ["a"])
    assert len(chunks(world)) == 2
    assert told(chunks(world)).split() == [str(number) for number in range(1000)]


async def test_no_response_is_published_before_its_last_chunk_is_delivered(world: World) -> None:
    world.backend.pieces = WORDS
    world.broker.hold_deliveries()
    ask(world)
    async with world.running():
        await eventually(lambda: world.backend.calls and not world.backend.in_flight)
        await world.turns()
        assert world.answered == []
        world.broker.release_deliveries()
        await eventually(lambda: world.answered == ["a"])
    assert chunks(world)[-1].final


async def test_the_attempt_after_one_that_broke_has_the_next_number_and_its_own_run(world: World) -> None:
    world.backend.pieces = WORDS[:2]
    world.backend.then(BROKE)
    ask(world)
    await answered(world)
    found = chunks(world)
    runs = {chunk.attempt: chunk.run for chunk in found}
    assert set(runs) == {1, 2}
    assert runs[1] != runs[2]
    assert [chunk.attempt for chunk in found] == sorted(chunk.attempt for chunk in found)
    second = [chunk for chunk in found if chunk.attempt == 2]
    assert (second[0].index, second[-1].final, told(second)) == (0, True, "Hello")
    assert not any(chunk.final for chunk in found if chunk.attempt == 1)


async def test_a_worker_that_takes_over_begins_a_run_of_its_own_under_the_same_number() -> None:
    backend = SteppedBackend()
    world = World(backends=[backend], outcomes=MemoryOutcomeStore(window=60, lease=0.05))
    ask(world)
    worker, _ = world.build()
    await worker.start(world.errors.append)
    await eventually(lambda: backend.sinks)
    backend.sinks[0](Piece("broken"))
    await eventually(lambda: chunks(world))
    await worker.abort()
    successor = MemoryBackend()
    successor.pieces = WORDS
    world.backends = [successor]
    await answered(world)
    broken, *whole = chunks(world)
    assert {chunk.attempt for chunk in whole} == {broken.attempt}
    assert {chunk.run for chunk in whole} == {whole[0].run} != {broken.run}
    assert (whole[0].index, told(whole), whole[-1].final) == (0, "Hello", True)


async def test_chunks_go_where_the_request_says_with_its_key_and_trace(world: World) -> None:
    world.broker.partitions = 4
    world.backend.pieces = WORDS
    ask(world, headers=((h.REPLY_PARTITION, b"1,3"), (h.TRACEPARENT, b"00-a"), ("other", b"x")))
    await answered(world)
    assert {record.partition for record in records(world)} == {3}
    assert {record.key for record in records(world)} == {b"k"}
    headers = dict(records(world)[0].headers)
    assert headers[h.TRACEPARENT] == b"00-a"
    assert (headers[h.MESSAGE_ID], headers[h.TARGET], headers[h.SOURCE]) == (b"a", b"llm", b"test")
    assert "other" not in headers


async def test_the_time_to_the_first_token_is_measured(world: World) -> None:
    world.backend.pieces = WORDS
    ask(world)
    await answered(world)
    (response,) = world.responses
    assert response.timing.first_token is not None
    assert response.timing.model is not None
    assert 0 <= response.timing.first_token <= response.timing.model
    count = world.metrics.registry.get_sample_value("relayfleet_first_token_seconds_count", {"target": "llm"})
    assert count == 1
    assert any(
        event["event"] == Step.ANSWERED and event["first_token_ms"] == response.timing.first_token
        for event in events(world)
    )


def events(world: World) -> list[Mapping[str, Any]]:
    return [orjson.loads(record.value or b"") for record in world.broker.records("fleet_logs")]


async def test_who_asks_for_no_stream_gets_none_and_no_time_of_a_first_token(world: World) -> None:
    world.backend.pieces = WORDS
    world.send("a")
    await answered(world)
    assert world.backend.calls[0].sink is None
    assert records(world) == []
    assert world.responses[0].timing.first_token is None


async def test_a_backend_that_gives_no_pieces_just_answers(world: World) -> None:
    ask(world)
    await answered(world)
    assert records(world) == []
    assert world.responses[0].status == "ok"
    assert world.responses[0].timing.first_token is None


async def test_tool_calls_and_the_pieces_of_several_answers_are_never_mixed_up(world: World) -> None:
    call = {"tool_calls": [{"index": 0, "function": {"arguments": "{"}}]}
    world.backend.pieces = [
        Piece("a"),
        Piece("b", choice=1),
        Piece("c", choice=1),
        Piece(delta=call),
        Piece("d"),
        Piece("e", finish_reason="stop"),
        Piece("f"),
    ]
    ask(world)
    await answered(world)
    found = [(chunk.choice, chunk.text, chunk.delta, chunk.finish_reason) for chunk in chunks(world)]
    assert found == [
        (0, "a", {}, None),
        (1, "bc", {}, None),
        (0, "", call, None),
        (0, "de", {}, "stop"),
        (0, "f", {}, None),
    ]


async def test_a_long_piece_is_cut_into_chunks_that_kafka_takes(world: World) -> None:
    text = "语" * 200_000
    world.backend.pieces = [Piece(text, finish_reason="length", model="m")]
    ask(world)
    await answered(world)
    found = chunks(world)
    assert told(found) == text
    assert all(len(record.value or b"") < 256 * 1024 for record in records(world))
    assert [chunk.model for chunk in found] == ["m"] + [None] * (len(found) - 1)
    assert [chunk.finish_reason for chunk in found if chunk.text] == [None] * (len(found) - 2) + ["length"]


async def test_pieces_that_no_topic_takes_cost_no_answer(world: World) -> None:
    world.max_bytes = 2000
    world.backend.pieces = [Piece(delta={"tool_calls": ["x" * 3000]}), *WORDS]
    ask(world)
    await answered(world)
    assert records(world) == []
    assert world.responses[0].status == "ok"


@pytest.mark.parametrize("error", [PermanentError(ErrorClass.CONTENT_FILTER, "filtered"), BROKE])
async def test_nothing_more_of_a_failed_attempt_is_sent(error: Exception) -> None:
    backend = SteppedBackend()
    world = World(backends=[backend])
    world.retry(attempts=1)

    async def call(call: Call) -> Answer:
        assert call.sink is not None
        call.sink(Piece("first"))
        call.sink(Piece("second"))
        call.sink(Piece("third"))
        raise error

    backend.call = call  # type: ignore[method-assign]  # a backend that fails within its answer
    ask(world)
    async with world.running():
        await eventually(lambda: world.answered == ["a"])
        await world.turns()
    assert told(chunks(world)) == "first"
    assert not any(chunk.final for chunk in chunks(world))
