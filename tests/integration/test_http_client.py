"""The backends' HTTP client on real sockets, with both event loops: its pool, its time limits, and what it refuses."""

import asyncio
from urllib.parse import urlsplit

import pytest

from schemas.errors import ErrorClass
from tests.backs import port_of_nobody
from tests.scripted_http import (
    NEVER,
    OK,
    Guest,
    Scenario,
    answers,
    answers_once_and_closes_at_the_next,
    called,
    calling,
    failure,
    get,
    on_the_loop_of_workers,
    serving,
    silent,
)
from tests.support import eventually
from workers.backends import http_connection
from workers.backends.http_client import HttpClient
from workers.core.errors import PermanentError, UsageError


@pytest.fixture(autouse=True)
def however_late_a_close_is_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    """It counts as one of an idle connection, where that is one; `test_http_connection` has the limit."""
    monkeypatch.setattr(http_connection, "RACE", NEVER)


async def test_a_connection_is_kept_and_no_more_are_opened_than_allowed() -> None:
    async with serving(answers) as server, calling(server.address, connections=3) as client:
        bodies = await asyncio.gather(*(get(client) for _ in range(50)))
        assert set(bodies) == {b"hi"}
        assert len(server.guests) == 3


async def test_a_connection_that_was_idle_for_too_long_is_not_used_again() -> None:
    async with serving(answers) as server, calling(server.address, keep=-1.0) as client:
        await get(client)
        await get(client)
        assert len(server.guests) == 2


async def test_who_finds_every_connection_in_use_waits_and_not_beyond_its_time() -> None:
    async with serving(silent) as server, calling(server.address, connections=1) as client:
        first = asyncio.create_task(get(client))
        await eventually(lambda: server.requests == 1)
        assert (await failure(client, 0.05)).error_class is ErrorClass.OVERLOADED
        first.cancel()
        await asyncio.wait({first})


async def test_a_cancelled_call_closes_its_connection_and_makes_room() -> None:
    async with serving(silent, answers) as server, calling(server.address, connections=1) as client:
        first = asyncio.create_task(get(client))
        await eventually(lambda: server.requests == 1)
        second = asyncio.create_task(get(client))
        first.cancel()
        await asyncio.wait({first})
        await server.guests[0].gone.wait()
        assert await second == b"hi"


async def test_who_stops_waiting_leaves_its_place_to_the_next() -> None:
    release = asyncio.Event()

    async def slow(guest: Guest) -> None:
        await guest.asked()
        await release.wait()
        guest.writer.write(OK)
        await answers(guest)

    async with serving(slow) as server, calling(server.address, connections=1) as client:
        first, second, third = [asyncio.create_task(get(client)) for _ in range(3)]
        await eventually(lambda: server.requests == 1)
        release.set()
        await first
        second.cancel()  # it may have been given the connection already
        assert await third == b"hi"
        await asyncio.wait({second})


async def test_a_connection_that_was_closed_while_idle_is_replaced_once() -> None:
    async with (
        serving(answers_once_and_closes_at_the_next, answers) as server,
        calling(server.address) as client,
    ):
        assert [await get(client), await get(client)] == [b"hi", b"hi"]
        assert [len(guest.requests) for guest in server.guests] == [2, 1]


async def test_a_server_that_is_gone_is_not_asked_again_and_again() -> None:
    async def closes(guest: Guest) -> None:
        await guest.asked()

    async with (
        serving(answers_once_and_closes_at_the_next, closes) as server,
        calling(server.address) as client,
    ):
        await get(client)
        assert (await failure(client)).error_class is ErrorClass.CONNECT
        assert [len(guest.requests) for guest in server.guests] == [2, 1]


async def test_a_call_that_was_half_answered_is_not_repeated() -> None:
    async def breaks(guest: Guest) -> None:
        await guest.asked()
        guest.writer.write(OK)
        await guest.asked()
        guest.writer.write(OK[:20])

    async with serving(breaks, answers) as server, calling(server.address) as client:
        await get(client)
        assert (await failure(client)).error_class is ErrorClass.CONNECT
        assert len(server.guests) == 1


async def test_a_call_ends_when_its_time_is_over_and_so_does_its_connection() -> None:
    async def stops(guest: Guest) -> None:
        await guest.asked()
        guest.writer.write(OK)
        await guest.asked()
        await guest.leaves()

    async with serving(stops) as server, calling(server.address) as client:
        await get(client)
        assert (await failure(client, 0.05)).error_class is ErrorClass.TIMEOUT
        await server.guests[0].gone.wait()


async def test_connecting_has_a_limit_of_its_own() -> None:
    """A server that never answers the TLS greeting looks just like a network that swallows packets."""

    async def deaf(guest: Guest) -> None:
        await guest.leaves()

    async with serving(deaf) as server:
        address = server.address.replace("http:", "https:")
        async with calling(address, connect_timeout=0.05) as client:
            error = await failure(client)
    assert error.error_class is ErrorClass.CONNECT
    assert "took too long" in error.reason


async def test_nobody_listening_is_a_connection_failure_and_the_place_is_free_again() -> None:
    async with port_of_nobody() as port, calling(f"http://127.0.0.1:{port}", connections=1) as client:
        for _ in range(3):
            assert (await failure(client)).error_class is ErrorClass.CONNECT


async def test_what_goes_on_when_the_client_is_closed_fails_and_so_does_what_comes() -> None:
    async with serving(silent) as server, calling(server.address, connections=1) as client:
        calls = [asyncio.create_task(failure(client)) for _ in range(2)]
        await eventually(lambda: server.requests == 1)
        await client.close()
        errors = [*await asyncio.gather(*calls), await failure(client)]
    assert {error.error_class for error in errors} == {ErrorClass.CONNECT}


@pytest.mark.parametrize(
    ("method", "path", "header"),
    [
        ("GET", "/a b", ("x", "1")),
        ("GET", "/\r\nx: 1", ("x", "1")),
        ("GET", "http://elsewhere/", ("x", "1")),
        ("GET /\r\n", "/", ("x", "1")),
        ("GET", "/", ("x", "1\r\ny: 2")),
        ("GET", "/", ("x\r\ny", "1")),
        ("GET", "/", ("x", "1\x00")),
        ("GET", "/", ("x", "订单")),
        ("GET", "/", ("x y", "1")),
    ],
)
async def test_what_http_does_not_allow_is_refused_and_nothing_is_sent(
    method: str, path: str, header: tuple[str, str]
) -> None:
    async with serving(answers) as server, calling(server.address) as client:
        with pytest.raises(PermanentError):
            await client.request(method, path, [header], seconds=1)
        assert server.guests == []


@pytest.mark.parametrize("address", ["http://a:99999", f"http://{'a' * 64}.b"])
async def test_an_address_that_could_never_be_called_is_refused(address: str) -> None:
    with pytest.raises(UsageError):
        HttpClient("x", urlsplit(address))


async def test_a_host_is_named_as_http_wants_it() -> None:
    async with serving(answers) as server:
        port = server.address.rpartition(":")[2]
        async with calling(f"http://LOCALHOST:{port}") as client:
            await get(client)
        assert f"host: localhost:{port}\r\n".encode() in server.guests[0].requests[0]


SCENARIOS = (
    test_a_connection_is_kept_and_no_more_are_opened_than_allowed,
    test_a_cancelled_call_closes_its_connection_and_makes_room,
    test_who_stops_waiting_leaves_its_place_to_the_next,
    test_a_connection_that_was_closed_while_idle_is_replaced_once,
    test_a_call_that_was_half_answered_is_not_repeated,
    test_a_call_ends_when_its_time_is_over_and_so_does_its_connection,
    test_connecting_has_a_limit_of_its_own,
    test_nobody_listening_is_a_connection_failure_and_the_place_is_free_again,
    test_what_goes_on_when_the_client_is_closed_fails_and_so_does_what_comes,
)


@pytest.mark.parametrize("scenario", SCENARIOS, ids=called)
def test_the_event_loop_that_workers_run_on_does_the_same(scenario: Scenario) -> None:
    on_the_loop_of_workers(scenario)
