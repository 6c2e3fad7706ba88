"""Replies on their way to the client of a stream."""

import asyncio
from collections.abc import Sequence
from itertools import chain

import pytest

from schemas import relayfleet_pb2 as wire
from tests.support import eventually
from workers.gateway.grpc_outbox import Outbox


class Client:
    """Takes a message whenever it is let to."""

    def __init__(self) -> None:
        self.taken: list[list[str]] = []
        self.lets = asyncio.Semaphore(0)

    async def take(self, replies: Sequence[wire.ConverseReply]) -> None:
        """The sending end."""
        await self.lets.acquire()
        self.taken.append([reply.id for reply in replies])


def reply(name: str, size: int = 0) -> wire.ConverseReply:
    return wire.ConverseReply(id=name, chunk=wire.ResponseChunk(text="x" * size))


async def test_replies_go_in_their_order_and_what_comes_meanwhile_goes_together() -> None:
    client = Client()
    outbox = Outbox(client.take, room=100_000)
    running = asyncio.create_task(outbox.run())
    await outbox.put(reply("a"))
    await asyncio.sleep(0)
    for name in "bcd":
        await outbox.put(reply(name))
    client.lets.release()
    client.lets.release()
    await eventually(lambda: client.taken == [["a"], ["b", "c", "d"]])
    outbox.close()
    await running


async def test_one_that_lingers_takes_those_along_that_come_until_then() -> None:
    client = Client()
    client.lets.release()
    outbox = Outbox(client.take, room=100_000, linger=0.02)
    running = asyncio.create_task(outbox.run())
    for name in "abc":
        await outbox.put(reply(name))
        await asyncio.sleep(0)
    await eventually(lambda: client.taken == [["a", "b", "c"]])
    running.cancel()


async def test_whoever_has_more_than_there_is_room_for_waits() -> None:
    client = Client()
    outbox = Outbox(client.take, room=10_000)
    running = asyncio.create_task(outbox.run())
    puts = [asyncio.create_task(outbox.put(reply(str(number), 6_000))) for number in range(5)]
    await eventually(lambda: sum(put.done() for put in puts) == 2)
    for _ in range(5):
        client.lets.release()
    await asyncio.gather(*puts)
    await eventually(lambda: list(chain(*client.taken)) == [str(number) for number in range(5)])
    running.cancel()


async def test_no_message_is_larger_than_clients_take_unless_one_reply_is() -> None:
    client = Client()
    for _ in range(9):
        client.lets.release()
    outbox = Outbox(client.take, room=100_000_000)
    for name, size in (("a", 600_000), ("b", 600_000), ("c", 5_000_000), ("d", 10), ("e", 10)):
        await outbox.put(reply(name, size))
    outbox.close()
    await outbox.run()
    assert client.taken == [["a"], ["b"], ["c"], ["d", "e"]]


async def test_a_client_that_takes_nothing_more_ends_it() -> None:
    async def gone(_: Sequence[wire.ConverseReply]) -> None:
        raise ConnectionError

    outbox = Outbox(gone, room=100)
    await outbox.put(reply("a"))
    with pytest.raises(ConnectionError):
        await outbox.run()
