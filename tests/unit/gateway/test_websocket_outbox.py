"""Frames on their way to a slow reader."""

import asyncio

import pytest

from tests.support import eventually
from workers.gateway.websocket_outbox import Outbox, StalledError


class Reader:
    """Takes a frame whenever it is let to."""

    def __init__(self) -> None:
        self.taken: list[str] = []
        self.lets = asyncio.Semaphore(0)

    async def take(self, frame: str) -> None:
        """The sending end."""
        await self.lets.acquire()
        self.taken.append(frame)


async def test_whoever_has_a_frame_too_many_waits_until_there_is_room() -> None:
    reader = Reader()
    outbox = Outbox(reader.take, most=10, stall=60)
    running = asyncio.create_task(outbox.run())
    await outbox.put(b"a" * 6)
    second = asyncio.create_task(outbox.put(b"b" * 6))
    await asyncio.wait({second}, timeout=0.02)
    assert not second.done()
    reader.lets.release()
    await second
    reader.lets.release()
    await eventually(lambda: reader.taken == ["a" * 6, "b" * 6])
    running.cancel()


async def test_a_frame_larger_than_the_bound_goes_alone() -> None:
    reader = Reader()
    outbox = Outbox(reader.take, most=10, stall=60)
    running = asyncio.create_task(outbox.run())
    await outbox.put(b"a" * 100)
    reader.lets.release()
    await eventually(lambda: reader.taken == ["a" * 100])
    running.cancel()


async def test_a_reader_that_takes_nothing_is_given_up() -> None:
    outbox = Outbox(Reader().take, most=10, stall=0.01)
    await outbox.put(b"a")
    with pytest.raises(StalledError):
        await outbox.run()
