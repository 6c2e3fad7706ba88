"""Which records leave together: one on its own at once, and what comes meanwhile when those before it have arrived."""

import asyncio
from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest

from tests.support import eventually
from workers.core.deadlines import Deadline
from workers.core.metrics import Metrics
from workers.core.records import Outgoing
from workers.kafka import producer
from workers.kafka.producer import KafkaPublisher, PublisherPolicy


class Client:
    """librdkafka's producer as far as it is used; reports come when the test says so. The queue takes `room` records."""

    def __init__(self, *_: object, **__: object) -> None:
        self.taken: list[str] = []
        self.room = 100
        self._out: list[Callable[[None, Client], None]] = []
        self._arrived: list[Callable[[None, Client], None]] = []

    def produce(self, topic: str, *_: Any, on_delivery: Callable[[None, "Client"], None], **__: Any) -> None:
        if len(self) >= self.room:
            raise BufferError
        self.taken.append(topic)
        self._out.append(on_delivery)

    def arrive(self) -> None:
        self._arrived += self._out
        self._out = []

    def poll(self, _: float) -> int:
        served, self._arrived = self._arrived, []
        for report in served:
            report(None, self)
        return len(served)

    def purge(self, *, blocking: bool) -> None:
        self._out = []

    def flush(self, _: float) -> int:
        return 0

    def __len__(self) -> int:
        return len(self._out) + len(self._arrived)


@pytest.fixture
async def opened(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[tuple[KafkaPublisher, Client]]:
    client = Client()
    monkeypatch.setattr(producer, "Producer", lambda *_, **__: client)
    monkeypatch.setattr("workers.kafka.posts.Producer", Client)
    publisher = KafkaPublisher({}, Metrics(), PublisherPolicy(hold=3600.0))
    yield publisher, client
    await publisher.close(Deadline.after(0))


def deliver(publisher: KafkaPublisher, *names: str) -> "asyncio.Future[None]":
    done = publisher.deliver([Outgoing(name, None, b"") for name in names])
    assert isinstance(done, asyncio.Future)
    return done


async def test_one_list_leaves_at_once_and_what_comes_meanwhile_leaves_together_behind_it(
    opened: tuple[KafkaPublisher, Client],
) -> None:
    publisher, client = opened
    first = deliver(publisher, "a", "b")
    assert client.taken == ["a", "b"]
    rest = [deliver(publisher, name) for name in "cd"]
    await asyncio.sleep(0.01)  # several turns of the tick: nothing else makes them leave
    assert client.taken == ["a", "b"]
    client.arrive()
    await first
    await eventually(lambda: client.taken == ["a", "b", "c", "d"])
    client.arrive()
    await asyncio.gather(*rest)


async def test_what_waits_leaves_in_time_though_nothing_arrives(monkeypatch: pytest.MonkeyPatch) -> None:
    client = Client()
    monkeypatch.setattr(producer, "Producer", lambda *_, **__: client)
    monkeypatch.setattr("workers.kafka.posts.Producer", Client)
    publisher = KafkaPublisher({}, Metrics(), PublisherPolicy(hold=0.01))
    waiting = [deliver(publisher, name) for name in "abc"]
    await eventually(lambda: client.taken == ["a", "b", "c"])
    client.arrive()
    await asyncio.gather(*waiting)
    await publisher.close(Deadline.after(0))


async def test_a_full_queue_keeps_the_order_and_goes_on_as_soon_as_there_is_room(
    opened: tuple[KafkaPublisher, Client],
) -> None:
    publisher, client = opened
    client.room = 2
    waiting = [deliver(publisher, "a", "b", "c"), deliver(publisher, "d")]
    assert client.taken == ["a", "b"]
    client.arrive()
    await eventually(lambda: client.taken == ["a", "b", "c", "d"])
    client.arrive()
    await asyncio.gather(*waiting)
