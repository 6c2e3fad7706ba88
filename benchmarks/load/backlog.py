"""A topic full of requests, and the rate at which somebody works it off."""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import orjson
from confluent_kafka import Consumer, Producer, TopicPartition
from confluent_kafka.admin import AdminClient
from confluent_kafka.cimpl import NewTopic

from benchmarks.load.sender import TEXT
from workers.core.clock import SystemClock

PARTITIONS = 4
_FEWEST = 20  # responses that a rate is told from
_STARTS_WITHIN = 60.0  # seconds until the first response must have come


@dataclass(frozen=True, slots=True)
class Rate:
    """Messages a second, and how many were seen while it was taken."""

    per_second: float
    counted: int


def create(kafka: str, topics: Sequence[str]) -> None:
    """Create topics with `PARTITIONS` partitions."""
    admin = AdminClient({"bootstrap.servers": kafka, "log_level": 5})  # not what it tells about its own end
    wanted = [NewTopic(topic, PARTITIONS, 1) for topic in topics]
    for created in admin.create_topics(wanted, operation_timeout=20).values():
        created.result(timeout=20)


def fill(kafka: str, topic: str, count: int) -> None:
    """Write requests as the router leaves them: JSON envelopes with routing headers."""
    producer = Producer(
        {
            "bootstrap.servers": kafka,
            "linger.ms": 20,
            "compression.type": "lz4",
            "queue.buffering.max.messages": 2_000_000,
        }
    )
    now = SystemClock().wall()
    for number in range(count):
        value, routing = routed(number, now)
        headers: list[tuple[str, str | bytes | None]] = list(routing)
        producer.produce(topic, value, f"k{number % 5000}".encode(), headers=headers)
        producer.poll(0)
    producer.flush(60)


def routed(number: int, now: float) -> tuple[bytes, tuple[tuple[str, bytes], ...]]:
    """A request for the target `llm` as the router leaves it: envelope and headers. `now` is seconds of wall time."""
    name, stamp = f"m{number}", b"%d" % (now * 1000)
    payload = {"text": TEXT, "context": {"user_history": ["之前咨询过显示器"]}}
    envelope = {"message_id": name, "source": "bench", "payload": payload, "timestamp": int(now)}
    return orjson.dumps(envelope), (
        ("relay.message-id", name.encode()),
        ("relay.route", b"default"),
        ("relay.target", b"llm"),
        ("relay.received-at", stamp),
        ("relay.routed-at", stamp),
    )


def worked_off(
    kafka: str, topic: str, count: int, seconds: float, alive: Callable[[], bool], warmup: float = 1.0
) -> Rate | None:
    """The rate at which responses arrive, over `seconds`, after `warmup` of them; ends early when all have come.

    By the times of their arrival: some libraries give a response the timestamp of its request. None where too few came.
    """
    arrivals: list[float] = []
    consumer = Consumer({"bootstrap.servers": kafka, "group.id": "bench-look", "enable.auto.commit": False})
    consumer.assign([TopicPartition(topic, number, 0) for number in range(PARTITIONS)])
    until = time.monotonic() + _STARTS_WITHIN
    try:
        while len(arrivals) < count and time.monotonic() < until and alive():
            batch = consumer.consume(500, timeout=0.05)
            now = time.monotonic()
            if batch and not arrivals:
                until = now + warmup + seconds
            arrivals += [now for message in batch if message.error() is None]
    finally:
        consumer.close()
    return rate_of(arrivals, warmup)


def rate_of(arrivals: Sequence[float], warmup: float) -> Rate | None:
    """From the end of the warm-up to the last; where all was over by then, from the first tenth. None for too few."""
    if len(arrivals) < _FEWEST:
        return None
    times = np.asarray(arrivals)
    first = int(np.searchsorted(times, times[0] + warmup))
    if times[-1] - times[0] < 2 * warmup:
        first = len(times) // 10
    counted = int(np.count_nonzero(times > times[first]))
    took = float(times[-1] - times[first])
    return Rate(counted / took, counted) if took > 0 else None
