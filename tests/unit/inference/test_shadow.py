"""Shadows: called once, recorded beside, and in nobody's way."""

from dataclasses import replace

import pytest

from schemas import headers as h
from schemas.codec import decode_response
from schemas.errors import ErrorClass
from schemas.headers import Headers
from schemas.response import Response
from tests.support import eventually
from tests.unit.inference.world import TARGET, World
from workers.core.errors import PermanentError, TransientError
from workers.core.metrics import SHADOWS
from workers.core.ports import Answer, Usage
from workers.policies.retry import RetryPolicy

COPY: Headers = ((h.SHADOW_OF, b"original"), (h.REPLY_PARTITION, b"0"))


def shadows(world: World) -> list[Response]:
    return [decode_response(record.value, record.headers) for record in world.broker.records("model_shadow")]


def counted(world: World, result: str) -> float:
    return float(world.metrics.counter(SHADOWS, TARGET, result)._value.get())


async def test_a_shadows_answer_is_recorded_beside_and_nobody_gets_it(world: World) -> None:
    world.backend.then(Answer("from the shadow", usage=Usage(1, 2, 3)))
    async with world.running():
        world.send("a", headers=COPY)
        await eventually(lambda: counted(world, "ok"))
    (shadow,) = shadows(world)
    assert (shadow.message_id, shadow.payload.text, shadow.status) == ("a", "from the shadow", "ok")
    assert (shadow.route.target, shadow.route.shadow_of) == (TARGET, "original")
    assert shadow.payload.usage is not None
    assert (world.responses, world.dead_letters) == ([], [])
    assert world.committed_offset() == 1


async def test_a_shadow_and_its_message_are_called_and_answered_apart(world: World) -> None:
    """Once-per-id is about messages that somebody asked: a copy neither answers one nor takes its lease."""
    async with world.running():
        world.send("a", headers=COPY)
        await eventually(lambda: counted(world, "ok"))
        world.send("a")
        await eventually(lambda: world.answered == ["a"])
        world.send("a", headers=COPY)
        await eventually(lambda: counted(world, "ok") == 2)
    assert len(world.backend.calls) == 3
    assert world.responses[0].route.repeated is None


@pytest.mark.parametrize(
    "failure",
    [
        PermanentError(ErrorClass.UPSTREAM_4XX, "no"),
        TransientError(ErrorClass.UPSTREAM_5XX, "no", retry_after=99),
    ],
)
async def test_a_shadow_that_fails_is_recorded_called_no_more_and_no_dead_letter(
    world: World, failure: PermanentError | TransientError
) -> None:
    world.backend.default = failure
    async with world.running():
        world.send("a", headers=COPY)
        await eventually(lambda: counted(world, "error"))
    (shadow,) = shadows(world)
    assert shadow.payload.error is not None
    assert shadow.payload.error.code == failure.error_class
    assert (len(world.backend.calls), world.responses, world.dead_letters) == (1, [], [])
    assert world.committed_offset() == 1


async def test_shadows_are_dropped_where_they_would_take_the_room_of_messages(world: World) -> None:
    world.concurrency = 4
    world.backend.hold()
    async with world.running():
        world.send(*"abcd", headers=COPY)
        await eventually(lambda: counted(world, "dropped") == world.backend.in_flight == 2)
        world.send("e", "f")
        await eventually(lambda: world.backend.in_flight == 4)
        world.backend.release()
        await eventually(lambda: len(world.answered) == 2)
    assert sorted(world.answered) == ["e", "f"]


async def test_a_shadow_that_comes_late_or_is_unreadable_is_dropped(world: World) -> None:
    async with world.running():
        world.send("late", headers=(*COPY, (h.RECEIVED_AT, b"1000")))
        world.send("past", headers=(*COPY, (h.DEADLINE, b"1000")))
        await eventually(lambda: counted(world, "dropped") == 2)
    assert (world.backend.calls, shadows(world), world.committed_offset()) == ([], [], 2)


async def test_a_shadow_holds_up_no_message_of_its_key(world: World) -> None:
    world.intake = replace(world.intake, ordered=True)
    world.backend.hold()
    async with world.running():
        world.send("copy", key=b"k", headers=COPY)
        await eventually(lambda: world.backend.in_flight == 1)
        world.send("message", key=b"k")
        await eventually(lambda: world.backend.in_flight == 2)
        world.backend.release()
        await eventually(lambda: world.answered == ["message"])


async def test_a_shadow_too_large_for_its_topic_is_dropped_and_the_worker_goes_on(world: World) -> None:
    world.max_bytes = 2_000
    world.backend.then(Answer("x" * 5_000))
    async with world.running():
        world.send("a", headers=COPY)
        world.send("b")
        await eventually(lambda: world.answered == ["b"])
        await eventually(lambda: world.committed_offset() == 2)
    assert (shadows(world), world.dead_letters) == ([], [])


async def test_failing_shadows_stop_no_target(world: World) -> None:
    world.target = replace(world.target, retry=RetryPolicy(attempts=1))
    world.valve = replace(world.valve, min_messages=2, ratio=0.5)
    world.backend.default = PermanentError(ErrorClass.UPSTREAM_4XX, "no")
    async with world.running():
        world.send(*"abcdef", headers=COPY)
        await eventually(lambda: counted(world, "error") + counted(world, "dropped") == 6)
        world.backend.default = Answer("well again")
        world.send("message")
        await eventually(lambda: world.answered == ["message"])
