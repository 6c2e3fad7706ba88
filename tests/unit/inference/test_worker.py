import asyncio
from dataclasses import replace
from typing import Any

import pytest

from schemas import headers as h
from schemas.errors import ErrorClass
from tests.support import eventually
from tests.unit.inference.world import GROUP, TOPIC, World, envelope
from workers.backends.memory import MemoryBackend
from workers.core.errors import PermanentError, RefusedError, TransientError
from workers.core.ports import Answer, Usage
from workers.core.records import Outgoing


async def test_an_answer_carries_id_usage_route_and_times_and_is_committed(world: World) -> None:
    world.backend.default = Answer("42", "small", "stop", Usage(3, 4, 7))
    world.send(
        "a", key=b"k", headers=((h.ROUTE, b"errors"), (h.TRACEPARENT, b"00-aa-bb-01"), (h.RECEIVED_AT, b"1"))
    )
    async with world.running():
        await eventually(lambda: world.committed_offset() == 1)
    (response,) = world.responses
    assert (response.message_id, response.source, response.status) == ("a", "llm", "ok")
    assert response.payload.text == "42"
    assert response.payload.usage is not None
    assert response.payload.usage.total_tokens == 7
    assert response.route.model_dump(exclude_none=True) == {
        "target": "llm",
        "rule": "errors",
        "instance": "memory",
        "attempts": 1,
    }
    assert response.timing.total is not None
    (record,) = world.broker.records("model_responses")
    assert record.key == b"k"
    assert h.get(record.headers, h.TRACEPARENT) == "00-aa-bb-01"


async def test_what_is_not_known_of_a_message_is_left_out_of_its_response_and_its_events(
    world: World,
) -> None:
    world.backend.then(Answer("with nothing but its text"), PermanentError(ErrorClass.UPSTREAM_4XX, "no"))
    world.send("a", "b")
    async with world.running():
        await eventually(lambda: len(world.answered) == 2)
    told = [*world.broker.records("model_responses"), *world.broker.records("fleet_logs")]
    assert len(told) == 6
    assert not [record.value for record in told if b"null" in (record.value or b"")]


async def test_as_many_calls_as_the_instances_take_and_no_more(world: World) -> None:
    world.backend.hold()
    world.send(*(f"m{n}" for n in range(20)))
    async with world.running():
        await eventually(lambda: world.backend.in_flight == 4)
        world.backend.release()
        await eventually(lambda: len(world.answered) == 20)
    assert world.backend.peak == 4


async def test_poison_becomes_an_error_response_and_a_dead_letter_and_harms_nobody(world: World) -> None:
    original = world.broker.append(
        Outgoing(TOPIC, b"key", b"\xff not json", (("mine", b"1"), ("mine", None)), timestamp_ms=12345)
    )
    world.broker.append(Outgoing(TOPIC, None, None))
    world.send("good")
    async with world.running():
        await eventually(lambda: world.committed_offset() == 3)
    by_id = {response.message_id: response for response in world.responses}
    assert set(by_id) == {original.position, f"{TOPIC}:0:1", "good"}
    error = by_id[original.position].payload.error
    assert error is not None
    assert (error.code, error.retryable) == (ErrorClass.SCHEMA, False)
    letter = world.dead_letters[0]
    assert (letter.value, letter.key, letter.timestamp_ms) == (original.value, original.key, 12345)
    assert letter.headers[:2] == original.headers
    assert h.get(letter.headers, h.ERROR_CLASS) == "schema"
    assert h.get(letter.headers, h.DLQ_GROUP) == GROUP
    assert len(world.backend.calls) == 1


async def test_a_failure_that_passes_is_tried_again_and_only_the_end_is_told(world: World) -> None:
    world.backend.then(
        TransientError(ErrorClass.UPSTREAM_5XX, "oops"), TransientError(ErrorClass.CONNECT, "gone")
    )
    world.send("a")
    async with world.running():
        await eventually(lambda: world.answered == ["a"])
    assert world.responses[0].status == "ok"
    assert world.responses[0].route.attempts == 3
    assert world.dead_letters == []


async def test_attempts_end_in_a_dead_letter_and_an_error_response(world: World) -> None:
    world.backend.default = TransientError(ErrorClass.UPSTREAM_5XX, "broken", status=503)
    world.send("a")
    async with world.running():
        await eventually(lambda: world.committed_offset() == 1)
    assert len(world.backend.calls) == 5
    error = world.responses[0].payload.error
    assert error is not None
    assert (error.code, error.retryable, error.reason) == (ErrorClass.UPSTREAM_5XX, True, "broken")
    assert h.get(world.dead_letters[0].headers, h.ATTEMPT) == "5"
    assert h.get(world.dead_letters[0].headers, h.ERROR_STATUS) == "503"


async def test_retry_after_is_waited_for(world: World) -> None:
    waits: list[float] = []

    async def sleep(seconds: float) -> None:
        waits.append(seconds)

    world.sleep = sleep
    world.backend.then(TransientError(ErrorClass.RATE_LIMITED, "later", retry_after=3.5))
    world.send("a")
    async with world.running():
        await eventually(lambda: world.answered == ["a"])
    assert waits == [3.5]


async def test_another_instance_is_asked_after_a_failure(world: World) -> None:
    bad = MemoryBackend("bad", TransientError(ErrorClass.CONNECT, "gone"))
    good = MemoryBackend("good")
    world.backends = [bad, good]
    world.send("a")
    async with world.running():
        await eventually(lambda: world.answered == ["a"])
    assert world.responses[0].route.instance == "good"
    assert len(bad.calls) <= 1


async def test_a_hanging_backend_is_given_up_at_the_timeout(world: World) -> None:
    class Hanging(MemoryBackend):
        async def call(self, call: object) -> Answer:
            await asyncio.Event().wait()
            raise AssertionError

    world.backends = [Hanging()]
    world.target = replace(world.target, timeout=0.02)
    world.retry(attempts=2)
    world.send("a")
    async with world.running():
        await eventually(lambda: world.committed_offset() == 1)
    error = world.responses[0].payload.error
    assert error is not None
    assert error.code == ErrorClass.TIMEOUT


async def test_a_bug_in_a_backend_ends_one_message_and_tells_nobody_its_text(world: World) -> None:
    class Buggy(MemoryBackend):
        async def call(self, call: object) -> Answer:
            raise KeyError("the secret prompt")

    world.backends = [Buggy()]
    world.send("a")
    async with world.running():
        await eventually(lambda: world.committed_offset() == 1)
    error = world.responses[0].payload.error
    assert error is not None
    assert (error.code, "secret" in error.reason) == (ErrorClass.INTERNAL, False)


async def test_a_message_that_expired_is_not_sent_and_leaves_no_dead_letter(world: World) -> None:
    world.target = replace(world.target, expires_after=60.0)
    world.send("old")
    async with world.running():
        await eventually(lambda: world.committed_offset() == 1)
    error = world.responses[0].payload.error
    assert error is not None
    assert error.code == ErrorClass.EXPIRED
    assert (world.backend.calls, world.dead_letters) == ([], [])
    assert world.responses[0].route.attempts == 0


async def test_what_our_own_policy_declines_leaves_no_dead_letter(world: World) -> None:
    world.backend.default = RefusedError(ErrorClass.OVERLOADED, "all instances are open")
    world.send("a")
    async with world.running():
        await eventually(lambda: world.committed_offset() == 1)
    assert world.responses[0].status == "error"
    assert world.dead_letters == []


async def test_an_answer_too_large_becomes_an_error_that_says_so_and_others_are_published(
    world: World,
) -> None:
    world.max_bytes = 2000
    world.backend.then(Answer("x" * 5000))
    world.send("huge", "small")
    async with world.running():
        await eventually(lambda: world.committed_offset() == 2)
    by_id = {response.message_id: response for response in world.responses}
    error = by_id["huge"].payload.error
    assert error is not None
    assert error.code == ErrorClass.TOO_LARGE
    assert by_id["small"].status == "ok"
    assert [h.get(letter.headers, h.ERROR_CLASS) for letter in world.dead_letters] == ["too_large"]


async def test_a_dead_letter_too_large_for_its_topic_still_leaves_a_response(world: World) -> None:
    world.max_bytes = 1500
    world.backend.default = PermanentError(ErrorClass.UPSTREAM_4XX, "no")
    world.broker.append(Outgoing(TOPIC, None, envelope("a", payload={"text": "x" * 1400})))
    async with world.running():
        await eventually(lambda: world.committed_offset() == 1)
    assert world.answered == ["a"]
    assert world.dead_letters == []


@pytest.mark.parametrize(
    "bomb",
    [
        {"headers": ((h.TRACEPARENT, b"x" * 99_800),)},
        {"headers": ((h.TRACESTATE, b"x" * 1000),) * 98},
        {"key": b"x" * 99_900},
    ],
    ids=["a long header", "many headers", "a long key"],
)
async def test_what_a_request_carries_leaves_its_response_room(bomb: dict[str, Any]) -> None:
    world = World(max_bytes=100_000)
    async with world.running():
        world.send("m1", **bomb)
        await eventually(lambda: world.committed_offset() == 1)
    assert [(response.message_id, response.status) for response in world.responses] == [("m1", "ok")]


async def test_what_a_record_that_cannot_be_read_carries_leaves_its_response_room() -> None:
    world = World(max_bytes=100_000)
    async with world.running():
        headers = ((h.MESSAGE_ID, b"x" * 60_000), (h.ROUTE, b"x" * 30_000))
        world.broker.append(Outgoing(TOPIC, None, b"{", headers, partition=0))
        await eventually(lambda: world.committed_offset() == 1)
    assert [response.status for response in world.responses] == ["error"]


@pytest.mark.parametrize("received", [b"9" * 19, b"9" * 18, b"99999999999999"])
async def test_a_dead_letter_never_has_a_time_that_kafka_refuses(received: bytes) -> None:
    world = World()
    async with world.running():
        world.broker.append(Outgoing(TOPIC, None, b"{", ((h.RECEIVED_AT, received),), partition=0))
        await eventually(lambda: world.committed_offset() == 1)
    (letter,) = world.dead_letters
    assert letter.timestamp_ms <= world.broker.records(TOPIC)[0].timestamp_ms
