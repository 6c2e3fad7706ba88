"""What every backend promises: kept by the fake and by each protocol against a service that misbehaves."""

import asyncio
from collections.abc import AsyncIterator

import pytest

from schemas.envelope import Payload, Request
from schemas.errors import ErrorClass
from tests.contract.backend_rigs import OPENERS, PROMPT, Prompted, Rig
from tests.contract.backend_targets import SECRET
from tests.support import eventually
from workers.core.errors import MessageError, TransientError
from workers.core.ports import Answer, Backend, Call, Piece, Sink

BEGUN = " without a task"
"""Behind the name of a backend: it is asked as a prompt one is, wherever it lets itself be asked so."""


@pytest.fixture(params=[*OPENERS, *(f"{name}{BEGUN}" for name in PROMPT)])
async def rig(request: pytest.FixtureRequest) -> AsyncIterator[Rig]:
    name = request.param.removesuffix(BEGUN)
    broker = request.getfixturevalue("kafka") if name == "kafka" else ""
    async with OPENERS[name](request.getfixturevalue("tmp_path"), broker) as rig:
        if name != request.param:
            await rig.backend.call(call())  # so that there is a connection
            rig.backend = Prompted(rig.backend)
        yield rig


def call(
    timeout: float = 60.0, text: str = "where is order 123456, PROMPT-CANARY?", sink: Sink | None = None
) -> Call:
    payload = Payload(text=text)
    return Call(Request(message_id="m1", source="test", payload=payload, timestamp=1), timeout, None, sink)


async def timed_out(backend: Backend) -> None:
    """A call ends in time, and as a timeout: one too short for the question even to be sent says so instead."""
    for seconds in (0.1, 1.0, 10.0):
        error = await failure(backend, call(timeout=seconds))
        assert isinstance(error, TransientError)
        if "did not take the message" not in error.reason:
            break
    assert error.error_class is ErrorClass.TIMEOUT


async def failure(backend: Backend, one: Call) -> MessageError:
    with pytest.raises(MessageError) as caught:
        await backend.call(one)
    assert "CANARY" not in f"{caught.value!r} {caught.value} {caught.value.reason}"
    return caught.value


async def test_a_call_gives_a_finished_answer(rig: Rig) -> None:
    answer = await rig.backend.call(call())
    assert isinstance(answer, Answer)
    assert answer.text
    assert answer.finish_reason == "stop"


async def test_its_name_says_where_it_is_and_holds_no_secret(rig: Rig) -> None:
    assert rig.backend.name
    assert SECRET not in rig.backend.name


async def test_a_hundred_calls_at_once_are_all_answered(rig: Rig) -> None:
    answers = await asyncio.gather(*(rig.backend.call(call()) for _ in range(100)))
    assert len({answer.text for answer in answers}) == 1


async def test_pieces_come_in_order_and_make_up_the_answer(rig: Rig) -> None:
    pieces: list[Piece] = []
    answer = await rig.backend.call(call(sink=pieces.append))
    assert answer.text
    if rig.streams:
        assert len(pieces) > 1
        assert "".join(piece.text for piece in pieces) == answer.text
    else:
        assert pieces == []


async def test_a_call_that_takes_too_long_is_a_timeout(rig: Rig) -> None:
    await rig.backend.call(call())
    rig.hang()
    await timed_out(rig.backend)


async def test_a_cancelled_call_ends_at_once_and_the_backend_is_still_good(rig: Rig) -> None:
    await rig.backend.call(call())
    rig.hang()
    task = asyncio.create_task(rig.backend.call(call(timeout=3600)))
    await asyncio.sleep(0)
    done, _ = await asyncio.wait({task}, timeout=0.05)
    assert not done
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    await timed_out(rig.backend)


async def test_a_backend_that_breaks_down_is_worth_another_attempt(rig: Rig) -> None:
    await rig.backend.call(call())
    rig.break_down()
    error = await failure(rig.backend, call())
    assert isinstance(error, TransientError)
    assert error.error_class is ErrorClass.CONNECT


async def test_a_stream_that_breaks_is_worth_another_attempt(rig: Rig) -> None:
    await rig.backend.call(call())
    rig.break_down()
    error = await failure(rig.backend, call(sink=lambda _: None))
    assert isinstance(error, TransientError)
    assert error.error_class is ErrorClass.CONNECT


async def test_nobody_at_the_address_is_a_connection_failure(rig: Rig) -> None:
    if rig.unreachable is not None:
        error = await failure(rig.unreachable, call())
        assert isinstance(error, TransientError)
        assert error.error_class is ErrorClass.CONNECT


async def test_each_failure_has_its_class_and_says_nothing_of_the_prompt(rig: Rig) -> None:
    for error_class, fail in rig.failures.items():
        fail()
        assert (await failure(rig.backend, call())).error_class is error_class


async def test_an_answer_that_is_none_is_the_backends_failure(rig: Rig) -> None:
    if rig.garble is not None:
        rig.garble()
        error = await failure(rig.backend, call())
        assert isinstance(error, TransientError)
        assert error.error_class is ErrorClass.UPSTREAM_5XX


async def test_an_answer_without_end_is_cut_off(rig: Rig) -> None:
    if rig.overflow is not None:
        rig.overflow()
        assert (await failure(rig.backend, call())).error_class is ErrorClass.UPSTREAM_5XX


async def test_a_redirect_is_an_error(rig: Rig) -> None:
    if rig.redirect is not None:
        rig.redirect()
        assert (await failure(rig.backend, call())).error_class is ErrorClass.UPSTREAM_5XX


async def test_reasons_hold_neither_prompts_nor_secrets(rig: Rig) -> None:
    await rig.backend.call(call())
    rig.break_down()
    error = await failure(rig.backend, call())
    assert error.reason


async def test_a_call_under_way_when_the_backend_is_let_go_fails_as_a_connection(rig: Rig) -> None:
    await rig.backend.call(call())
    rig.hang()
    task = asyncio.create_task(rig.backend.call(call(timeout=3)))
    await asyncio.wait({task}, timeout=0.1)
    await rig.backend.close()
    await eventually(task.done)
    with pytest.raises(MessageError):
        await task


async def test_closing_twice_does_no_harm(rig: Rig) -> None:
    await rig.backend.call(call())
    await rig.backend.close()
    await rig.backend.close()
