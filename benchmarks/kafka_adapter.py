"""Our Kafka adapters next to bare loops over the same client, in one run: `python -m benchmarks.kafka_adapter`.

Prints one JSON object: records a second for delivering in lists of one and of 500 (every delivery awaited), and for
reading a topic to a listener that does nothing; each beside the client's own loop without our guarantees.
"""

import asyncio
import time
import uuid
from collections.abc import Mapping, Sequence
from typing import Annotated

import orjson
import typer
import uvloop
from confluent_kafka import Consumer, Producer

from workers.core.deadlines import Deadline
from workers.core.logging import configure_logging
from workers.core.metrics import Metrics
from workers.core.ports import TopicState
from workers.core.records import Outgoing, Position, Received, TopicPartition
from workers.kafka.admin import KafkaAdmin
from workers.kafka.consumer import KafkaSubscription
from workers.kafka.producer import KafkaPublisher

_PARTITIONS = 4
_HEADERS = (("relay.message-id", b"req_12345"), ("relay.target", b"llm"), ("relay.route", b"default"))
_VALUE = b'{"message_id":"req_12345","source":"web","payload":{"text":"%s"},"timestamp":1715234567}' % (
    b"x" * 200
)


class _Counter:
    """A listener that counts."""

    def __init__(self, expected: int) -> None:
        self.left = expected
        self.first = 0.0
        self.done = asyncio.Event()

    def records(self, batch: Sequence[Received]) -> None:
        self.first = self.first or time.perf_counter()
        self.left -= len(batch)
        if self.left <= 0:
            self.done.set()

    def assigned(self, partitions: Mapping[TopicPartition, Position | None]) -> None:
        pass

    async def revoked(self, partitions: Sequence[TopicPartition]) -> Mapping[TopicPartition, Position]:
        return {}

    def lost(self, partitions: Sequence[TopicPartition]) -> None:
        pass

    def failed(self, error: BaseException) -> None:
        raise error


async def _deliver(publisher: KafkaPublisher, topic: str, count: int, size: int, callers: int) -> float:
    records = [Outgoing(topic, b"key-%d" % number, _VALUE, _HEADERS) for number in range(size)]
    rounds = count // size // callers

    async def caller() -> None:
        for _ in range(rounds):
            await publisher.deliver(records)

    began = time.perf_counter()
    await asyncio.gather(*(caller() for _ in range(callers)))
    return rounds * size * callers / (time.perf_counter() - began)


def _deliver_bare(config: Mapping[str, object], topic: str, count: int) -> float:
    producer = Producer({**config, "acks": "all", "enable.idempotence": True, "compression.type": "lz4"})
    headers: list[tuple[str, str | bytes | None]] = list(_HEADERS)
    delivered = 0

    def report(error: object, _message: object) -> None:
        nonlocal delivered
        delivered += error is None

    began = time.perf_counter()
    for number in range(count):
        while True:
            try:
                producer.produce(
                    topic, _VALUE, b"key-%d" % (number % 500), on_delivery=report, headers=headers
                )
                break
            except BufferError:
                producer.poll(0.01)
        producer.poll(0)
    producer.flush(60)
    return delivered / (time.perf_counter() - began)


async def _read(config: Mapping[str, object], topic: str, count: int) -> float:
    subscription = KafkaSubscription(config, f"bench-{uuid.uuid4().hex}", [topic], Metrics())
    listener = _Counter(count)
    await subscription.start(listener)
    await listener.done.wait()
    rate = count / (time.perf_counter() - listener.first)
    await subscription.close(Deadline.after(10))
    return rate


def _read_bare(config: Mapping[str, object], topic: str, count: int) -> float:
    group = {
        "group.id": f"bench-{uuid.uuid4().hex}",
        "auto.offset.reset": "earliest",
        "enable.auto.commit": False,
    }
    consumer = Consumer({**config, **group, "fetch.queue.backoff.ms": 5})
    consumer.subscribe([topic])
    left, began = count, 0.0
    while left > 0:
        messages = consumer.consume(500, 0.1)
        began = began or (time.perf_counter() if messages else 0.0)
        left -= len(messages)
    rate = count / (time.perf_counter() - began)
    consumer.close()
    return rate


async def measure(bootstrap: str, count: int) -> dict[str, int]:
    """Records a second of each, on a topic of its own."""
    config: dict[str, object] = {"bootstrap.servers": bootstrap}
    topic = f"bench-{uuid.uuid4().hex}"
    await KafkaAdmin(config).create([TopicState(topic, _PARTITIONS, 1, {"retention.ms": "600000"})])
    publisher = KafkaPublisher(config, Metrics())
    await _deliver(publisher, topic, 1000, 500, 1)  # warm-up
    found = {
        "deliver_lists_of_500": await _deliver(publisher, topic, count, 500, 4),
        "deliver_lists_of_1": await _deliver(publisher, topic, count, 1, 2000),
        "deliver_bare": await asyncio.to_thread(_deliver_bare, config, topic, count),
        "read": await _read(config, topic, 2 * count),
        "read_bare": await asyncio.to_thread(_read_bare, config, topic, 2 * count),
    }
    await publisher.close(Deadline.after(10))
    return {name: round(rate) for name, rate in found.items()}


def main(
    bootstrap: Annotated[str, typer.Argument(help="HOST:PORT of the broker.")],
    count: Annotated[int, typer.Option(help="Records for each figure.")] = 200_000,
) -> None:
    """Measure the Kafka adapters beside bare loops."""
    configure_logging("bench", level="warning")
    typer.echo(orjson.dumps(uvloop.run(measure(bootstrap, count))).decode())


if __name__ == "__main__":
    typer.run(main)
