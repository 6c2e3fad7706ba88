"""Who gets which connection, in the moments that no server can be made to hit."""

import asyncio
from typing import cast
from urllib.parse import urlsplit

import pytest

from schemas.errors import ErrorClass
from workers.backends.http_client import HttpClient
from workers.backends.http_connection import HttpConnection, StaleError, Tell
from workers.core.errors import MessageError


class Closed:
    """A kept connection that turns out to be closed whenever it is used."""

    def __init__(self) -> None:
        self.sent = 0

    def send(self, _data: bytes, _until: float, _limit: int, tell: Tell, **_: object) -> None:
        self.sent += 1
        tell(StaleError())

    def usable(self, keep: float) -> bool:
        return True


@pytest.fixture
def client() -> HttpClient:
    return HttpClient("host:1", urlsplit("http://host:1"))


def connected(client: HttpClient) -> HttpConnection:
    """One of the client's connections."""
    return HttpConnection(client._connections, asyncio.get_running_loop())


async def waiting(client: HttpClient) -> "asyncio.Task[HttpConnection | None]":
    """Somebody in line for a connection."""
    task = asyncio.create_task(client._wait(asyncio.get_running_loop().time() + 3600))
    await asyncio.sleep(0)
    return task


async def test_a_connection_given_to_who_has_just_stopped_waiting_goes_to_the_next(
    client: HttpClient,
) -> None:
    first, second = await waiting(client), await waiting(client)
    given = connected(client)
    client._connections.free(given)
    first.cancel()
    assert await second is given
    with pytest.raises(asyncio.CancelledError):
        await first


async def test_a_free_place_given_to_who_has_just_stopped_waiting_goes_to_the_next(
    client: HttpClient,
) -> None:
    first, second = await waiting(client), await waiting(client)
    client._connections.gone(connected(client))
    first.cancel()
    assert await second is None
    with pytest.raises(asyncio.CancelledError):
        await first


async def test_who_finds_two_closed_connections_one_after_the_other_gives_up(
    client: HttpClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    closed = Closed()

    async def acquire(until: float) -> HttpConnection:
        return cast("HttpConnection", closed)

    monkeypatch.setattr(client, "_acquire", acquire)
    with pytest.raises(MessageError) as caught:
        await asyncio.wait_for(client.request("GET", "/", seconds=3600), 60)
    assert caught.value.error_class is ErrorClass.CONNECT
    assert closed.sent == 2
