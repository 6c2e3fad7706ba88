"""Gauges of one target's worker, brought up to date a few times a second instead of with every message."""

from collections.abc import Mapping

from workers.core.metrics import IN_FLIGHT, LAG, PAUSED, RECEIVED, Metrics
from workers.core.records import TopicPartition
from workers.inference.intake import Intake


class Meters:
    """What the intake holds, as metrics."""

    def __init__(self, metrics: Metrics, group: str, topic: str) -> None:
        self._metrics = metrics
        self._group = group
        self._received = metrics.counter(RECEIVED, "worker", topic)
        self._in_flight = metrics.gauge(IN_FLIGHT, "worker", topic)
        self._paused = metrics.gauge(PAUSED, topic)
        self._seen = 0
        self._done = 0

    def show(self, intake: Intake, lag: Mapping[TopicPartition, int] | None) -> int:
        """Set them all; returns the number of records in flight. `lag` None: not looked up this time."""
        in_flight = sum(assignment.tracker.in_flight for assignment in intake.assignments)
        self._received.inc(intake.received - self._seen)
        self._seen = intake.received
        self._in_flight.set(in_flight)
        self._paused.set(sum(bool(assignment.holds) for assignment in intake.assignments))
        for partition, records in (lag or {}).items():
            self._metrics.gauge(LAG, self._group, partition.topic, str(partition.partition)).set(records)
        return in_flight

    def finished(self, total: int) -> int:
        """How many messages were finished since the last time."""
        since, self._done = total - self._done, total
        return since
