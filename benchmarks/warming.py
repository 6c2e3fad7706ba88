"""Warms a broker up: a Java process that has just started compiles its code at the cost of whatever runs beside it.

In its first half minute an embedded broker took over a fifth of a machine of two cores for that alone.
"""

import time
import uuid
from collections.abc import Sequence

import psutil
from confluent_kafka import Consumer, Producer

from benchmarks.load.backlog import PARTITIONS, create

LONGEST = 25.0  # seconds
SPAN = 2.0  # seconds between two looks at the broker's CPU
_PATIENCE = 3  # spans without anything better
_FEWEST = 6  # spans
_BETTER = 0.93  # of the best so far: less is no chance
_BATCH = 200
_VALUE = b"x" * 300
_HEADERS: list[tuple[str, str | bytes | None]] = [("relay.message-id", b"m1"), ("relay.target", b"llm")]


def warm(kafka: str, pid: int, longest: float = LONGEST) -> list[float]:
    """Produce and consume until the broker (process `pid`) has settled, for `longest` seconds at most.

    Returns its CPU, in microseconds a record, of each span of that time.
    """
    process, load = psutil.Process(pid), _Load(kafka)
    costs: list[float] = []
    until = time.monotonic() + longest
    try:
        while not settled(costs) and time.monotonic() < until:
            before, count = _cpu(process), load.run(SPAN)
            costs.append((_cpu(process) - before) / count * 1e6)
    finally:
        load.close()
    return costs


def settled(costs: Sequence[float]) -> bool:
    """Whether the last spans cost no less than those before them."""
    return len(costs) >= _FEWEST and min(costs[-_PATIENCE:]) > _BETTER * min(costs[:-_PATIENCE])


class _Load:
    """Small requests without pause: acknowledged records, read by a group that commits."""

    def __init__(self, kafka: str) -> None:
        self._topic = f"bench-{uuid.uuid4().hex[:10]}"
        create(kafka, [self._topic])
        common = {"bootstrap.servers": kafka}
        self._producer = Producer(
            {**common, "enable.idempotence": True, "linger.ms": 0, "compression.type": "lz4"}
        )
        group = {"group.id": self._topic, "auto.offset.reset": "earliest", "enable.auto.commit": False}
        self._consumer = Consumer({**common, **group, "fetch.wait.max.ms": 5})
        self._consumer.subscribe([self._topic])

    def run(self, seconds: float) -> int:
        """How many records were produced."""
        count, until = 0, time.monotonic() + seconds
        while time.monotonic() < until:
            for number in range(_BATCH):
                self._producer.produce(self._topic, _VALUE, partition=number % PARTITIONS, headers=_HEADERS)
            self._producer.flush()
            count += _BATCH
            if self._consumer.consume(500, timeout=0):
                self._consumer.commit(asynchronous=True)
        return count

    def close(self) -> None:
        self._consumer.close()


def _cpu(process: psutil.Process) -> float:
    times = process.cpu_times()
    return float(times.user + times.system)
