"""Streams of the backends' HTTP client on real sockets, with both event loops."""

import asyncio

import pytest

from schemas.errors import ErrorClass
from tests.scripted_http import (
    NEVER,
    OK,
    Guest,
    Scenario,
    answers,
    called,
    calling,
    get,
    on_the_loop_of_workers,
    serving,
)
from workers.core.errors import MessageError


async def test_a_stream_is_read_while_it_comes_and_its_connection_is_kept() -> None:
    read = asyncio.Event()

    async def streams(guest: Guest) -> None:
        await guest.asked()
        guest.writer.write(b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n2\r\nhi\r\n")
        await read.wait()  # the second piece is not sent before the first one has been read
        guest.writer.write(b"2\r\nho\r\n0\r\n\r\n")
        await answers(guest)

    async with serving(streams) as server, calling(server.address, connections=1) as client:
        async with client.stream("POST", "/", body=b"{}", seconds=NEVER) as stream:
            assert stream.status == 200
            assert await anext(stream) == b"hi"
            read.set()
            assert await stream.read() == b"ho"
        assert await get(client) == b"hi"
        assert len(server.guests) == 1


async def test_leaving_a_stream_early_closes_its_connection() -> None:
    async def endless(guest: Guest) -> None:
        await guest.asked()
        guest.writer.write(b"HTTP/1.1 200 OK\r\n\r\nbegin")
        await guest.leaves()

    async with serving(endless, answers) as server, calling(server.address, connections=1) as client:
        async with client.stream("GET", "/", seconds=NEVER) as stream:
            assert await anext(stream) == b"begin"
        await server.guests[0].gone.wait()
        assert await get(client) == b"hi"


async def test_a_stream_that_takes_too_long_ends_with_a_timeout() -> None:
    async def stalls(guest: Guest) -> None:
        await guest.asked()
        guest.writer.write(OK)
        await guest.asked()
        guest.writer.write(b"HTTP/1.1 200 OK\r\n\r\nbegin")
        await guest.leaves()

    async with serving(stalls) as server, calling(server.address) as client:
        await get(client)
        with pytest.raises(MessageError) as caught:
            async with client.stream("GET", "/", seconds=0.1) as stream:
                await stream.read()
    assert caught.value.error_class is ErrorClass.TIMEOUT


SCENARIOS = (
    test_a_stream_is_read_while_it_comes_and_its_connection_is_kept,
    test_leaving_a_stream_early_closes_its_connection,
)


@pytest.mark.parametrize("scenario", SCENARIOS, ids=called)
def test_the_event_loop_that_workers_run_on_does_the_same(scenario: Scenario) -> None:
    on_the_loop_of_workers(scenario)
