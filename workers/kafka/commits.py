"""Committing positions: one at a time, in the order of the calls, and only for what is still ours."""

from collections.abc import Callable, Mapping
from threading import Event, Lock
from typing import NamedTuple

import structlog
from confluent_kafka import Consumer, KafkaError, KafkaException
from confluent_kafka import TopicPartition as ClientPartition

from workers.core.deadlines import Deadline
from workers.core.errors import FatalError, UnreachableError
from workers.core.metrics import COMMITS, Metrics
from workers.core.records import Position, TopicPartition
from workers.kafka.failures import is_lost_ownership, is_passing, kafka_error
from workers.kafka.ownership import Ownership

_log = structlog.get_logger()

_FIRST_WAIT = 0.05
_LONGEST_WAIT = 1.0
# The offset alone is the promise; its metadata only saves work after a restart.
_METADATA_REFUSED = frozenset({KafkaError.OFFSET_METADATA_TOO_LARGE, KafkaError.INVALID_COMMIT_OFFSET_SIZE})


class Offer(NamedTuple):
    """A position to commit, and the assignment that it belongs to."""

    epoch: int
    position: Position


class Committer:
    """Blocking commits for the commit thread and for the poll thread's rebalances."""

    def __init__(
        self, group: str, consumer: Callable[[], Consumer | None], ownership: Ownership, metrics: Metrics
    ) -> None:
        self._group = group
        self._consumer = consumer
        self._ownership = ownership
        self._turn = Lock()
        self._closed = Event()
        self._committed = metrics.counter(COMMITS, group, "ok")
        self._dropped = metrics.counter(COMMITS, group, "dropped")
        self._failed = metrics.counter(COMMITS, group, "failed")

    def drop(self, count: int) -> None:
        """Count positions that came too late to be offered."""
        self._dropped.inc(count)

    def commit(self, offers: Mapping[TopicPartition, Offer], deadline: Deadline) -> None:
        """Commit, trying again until the deadline what may pass.

        Raises `UnreachableError` when it is over, `FatalError` for what no attempt mends. Positions of partitions
        that are not ours any more are dropped and counted: their next owner does that work again.
        """
        wait = _FIRST_WAIT
        while offers and not self._closed.is_set():
            failures = self._attempt(offers)
            offers = self._remaining(offers, failures)
            if offers and deadline.expired:
                self._failed.inc(len(offers))
                raise _unreachable(self._group, next(iter(failures.values())))
            if offers:
                self._closed.wait(min(wait, deadline.remaining()))
                wait = min(2 * wait, _LONGEST_WAIT)
        self._dropped.inc(len(offers))

    def close(self) -> None:
        """Let no commit begin any more, and wait for the one under way: the client is about to go."""
        self._closed.set()
        with self._turn:
            pass

    def _attempt(self, offers: Mapping[TopicPartition, Offer]) -> dict[TopicPartition, KafkaError]:
        """One commit; returns what failed. The lock keeps an older position from overtaking a newer one."""
        with self._turn:
            epochs = self._ownership.epochs
            ours = [place for place, offer in offers.items() if epochs.get(place) == offer.epoch]
            self._dropped.inc(len(offers) - len(ours))
            if not ours or self._closed.is_set():
                return {}
            wanted = [
                ClientPartition(*place, offers[place].position.offset, offers[place].position.metadata)
                for place in ours
            ]
            failures = self._call(wanted)
        self._committed.inc(len(ours) - len(failures))
        return failures

    def _call(self, wanted: list[ClientPartition]) -> dict[TopicPartition, KafkaError]:
        consumer = self._consumer()
        if consumer is None:
            return {}
        try:
            results = consumer.commit(offsets=wanted, asynchronous=False)
        except KafkaException as error:
            return {TopicPartition(item.topic, item.partition): kafka_error(error) for item in wanted}
        return {
            TopicPartition(item.topic, item.partition): item.error
            for item in results
            if item.error is not None
        }

    def _remaining(
        self, offers: Mapping[TopicPartition, Offer], failures: Mapping[TopicPartition, KafkaError]
    ) -> dict[TopicPartition, Offer]:
        """What is worth another attempt."""
        again: dict[TopicPartition, Offer] = {}
        for place, error in failures.items():
            if is_lost_ownership(error):
                self._dropped.inc()
                _log.warning("kafka.commit_dropped", partition=str(place), why=error.str())
            elif is_passing(error):
                again[place] = offers[place]
            elif error.code() in _METADATA_REFUSED and offers[place].position.metadata:
                _log.warning("kafka.commit_metadata_refused", partition=str(place), why=error.str())
                again[place] = Offer(offers[place].epoch, Position(offers[place].position.offset))
            else:
                self._failed.inc()
                raise FatalError(f"committing {place} for group {self._group} failed: {error.str()}")
        return again


def _unreachable(group: str, error: KafkaError) -> UnreachableError:
    return UnreachableError(
        f"the positions of group {group} can't be committed: {error.str()}; nothing is lost, "
        "but a restart now would repeat what is not committed"
    )
