"""Reads the outcomes of what a sender sends, in a thread: when each came first, and how often."""

import threading
import time
from collections import Counter
from typing import Any, NamedTuple

import orjson
from confluent_kafka import Consumer, Message, TopicPartition


class Outcome(NamedTuple):
    """The first outcome of a message: `arrived` of the monotonic clock, `created_ms` of the responding process's."""

    arrived: float
    created_ms: int
    status: str
    timing: dict[str, float]
    size: int  # bytes of the response's value


class Outcomes:
    """The outcomes of the messages whose id begins with `prefix` and a dash, by their number."""

    def __init__(self, kafka: str, topic: str, prefix: str) -> None:
        self._prefix = prefix + "-"
        self._consumer = _at_the_end(kafka, topic)
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._run, name="outcomes", daemon=True)
        self.first: dict[int, Outcome] = {}
        self.again: Counter[int] = Counter()  # responses beyond the first
        self.last_arrival = time.monotonic()

    def __enter__(self) -> "Outcomes":
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._thread.join()
        self._consumer.close()

    def until(self, count: int, patience: float) -> bool:
        """Wait until so many messages have an outcome; False when none came for `patience` seconds."""
        self.last_arrival = max(self.last_arrival, time.monotonic())
        while len(self.first) < count:
            if time.monotonic() - self.last_arrival > patience:
                return False
            time.sleep(0.02)
        return True

    def _run(self) -> None:
        while not self._over.is_set():
            first = self._consumer.poll(0.05)  # `consume` alone would wait for its 500
            if first is None:
                continue
            batch = (first, *self._consumer.consume(499, timeout=0))
            now = time.monotonic()
            for message in batch:
                self._take(message, now)
            self.last_arrival = now

    def _take(self, message: Message, now: float) -> None:
        value = message.value()
        if message.error() is not None or value is None:
            return
        response: dict[str, Any] = orjson.loads(value)
        message_id = response["message_id"]
        if not message_id.startswith(self._prefix):
            return
        number = int(message_id[len(self._prefix) :])
        if number in self.first:
            self.again[number] += 1
            return
        created = message.timestamp()[1]
        self.first[number] = Outcome(now, created, response["status"], response["timing"], len(value))


def _at_the_end(kafka: str, topic: str) -> Consumer:
    """A consumer in no group, positioned so that nothing produced from now on is missed."""
    consumer = Consumer(
        {
            "bootstrap.servers": kafka,
            "group.id": "bench-look",
            "enable.auto.commit": False,
            "fetch.wait.max.ms": 50,
            "reconnect.backoff.max.ms": 500,
            "log_level": 0,  # a broker that is killed on purpose is no news
        }
    )
    numbers = consumer.list_topics(topic, timeout=20).topics[topic].partitions
    places = []
    for number in numbers:
        _, end = consumer.get_watermark_offsets(TopicPartition(topic, number), timeout=20)
        places.append(TopicPartition(topic, number, end))
    consumer.assign(places)
    return consumer
