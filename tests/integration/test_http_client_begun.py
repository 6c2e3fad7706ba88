"""Calls that are begun without a task, on real sockets: told once, on a second connection where the first was closed."""

from collections.abc import Callable

import pytest

from schemas.errors import ErrorClass
from tests.scripted_http import (
    NEVER,
    OK,
    Guest,
    Scenario,
    answers,
    answers_once_and_closes_at_the_next,
    called,
    calling,
    get,
    on_the_loop_of_workers,
    serving,
    silent,
)
from tests.support import eventually
from workers.backends import http_connection
from workers.backends.http_client import HttpClient
from workers.backends.http_connection import HttpResponse
from workers.core.errors import MessageError, PermanentError

Told = list[HttpResponse | Exception]


@pytest.fixture(autouse=True)
def however_late_a_close_is_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    """It counts as one of an idle connection, where that is one; `test_http_connection` has the limit."""
    monkeypatch.setattr(http_connection, "RACE", NEVER)


async def answers_once_then_silent(guest: Guest) -> None:
    await guest.asked()
    guest.writer.write(OK)
    await silent(guest)


def begin(client: HttpClient, told: Told, seconds: float = NEVER) -> Callable[[], None]:
    abandon = client.begin("GET", "/", seconds=seconds, told=told.append)
    assert abandon is not None
    return abandon


def error_class(told: Told) -> ErrorClass:
    (error,) = told
    assert isinstance(error, MessageError)
    return error.error_class


async def test_without_a_connection_nothing_begins() -> None:
    async with serving(answers) as server, calling(server.address) as client:
        assert client.begin("GET", "/", seconds=NEVER, told=lambda _: None) is None
        assert server.requests == 0


async def test_an_answer_is_told_once_and_the_connection_is_free_by_then() -> None:
    async with serving(answers) as server, calling(server.address, connections=1) as client:
        await get(client)
        told: Told = []
        again: Told = []

        def ask_again(result: HttpResponse | Exception) -> None:
            told.append(result)
            begin(client, again)

        assert client.begin("GET", "/", seconds=NEVER, told=ask_again) is not None
        await eventually(lambda: len(again) == 1)
        assert [getattr(one, "body", None) for one in told + again] == [b"hi", b"hi"]
        assert (len(server.guests), server.requests) == (1, 3)


async def test_one_whose_connection_had_been_closed_is_asked_on_another() -> None:
    async with (
        serving(answers_once_and_closes_at_the_next, answers) as server,
        calling(server.address) as client,
    ):
        await get(client)
        told: Told = []
        begin(client, told)
        await eventually(lambda: len(told) == 1)
        assert getattr(told[0], "body", None) == b"hi"
        assert len(server.guests) == 2


async def test_nobody_is_told_of_what_was_abandoned_and_its_connection_is_closed() -> None:
    async with serving(answers_once_then_silent) as server, calling(server.address) as client:
        await get(client)
        told: Told = []
        abandon = begin(client, told)
        abandon()
        await server.guests[0].gone.wait()
        abandon()  # a second time does nothing
        assert told == []


async def test_what_is_abandoned_while_it_is_asked_again_is_told_to_nobody() -> None:
    async with (
        serving(answers_once_and_closes_at_the_next, silent) as server,
        calling(server.address) as client,
    ):
        await get(client)
        told: Told = []
        abandon = begin(client, told)
        await eventually(lambda: server.requests == 3)
        abandon()
        await server.guests[1].gone.wait()
        assert told == []


async def test_its_time_bounds_it_though_the_connection_was_given_more_before() -> None:
    async with serving(answers_once_then_silent) as server, calling(server.address) as client:
        await get(client)  # with a timer that rings in an hour
        told: Told = []
        begin(client, told, 0.05)
        await eventually(lambda: len(told) == 1)
        assert error_class(told) is ErrorClass.TIMEOUT


async def test_a_client_that_is_closed_tells_of_what_is_under_way() -> None:
    async with serving(answers_once_then_silent) as server, calling(server.address) as client:
        await get(client)
        told: Told = []
        begin(client, told)
        await eventually(lambda: server.requests == 2)
        await client.close()
        assert error_class(told) is ErrorClass.CONNECT


async def test_what_can_not_be_sent_costs_no_connection() -> None:
    async with serving(answers) as server, calling(server.address, connections=1) as client:
        await get(client)
        with pytest.raises(PermanentError):
            client.begin("GET", "/", [("x", "a\r\nb")], seconds=NEVER, told=lambda _: None)
        assert await get(client) == b"hi"
        assert len(server.guests) == 1


@pytest.mark.parametrize(
    "scenario",
    [
        test_an_answer_is_told_once_and_the_connection_is_free_by_then,
        test_one_whose_connection_had_been_closed_is_asked_on_another,
        test_its_time_bounds_it_though_the_connection_was_given_more_before,
        test_a_client_that_is_closed_tells_of_what_is_under_way,
    ],
    ids=called,
)
def test_the_same_on_the_loop_of_workers(scenario: Scenario) -> None:
    on_the_loop_of_workers(scenario)
