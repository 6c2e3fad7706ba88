"""What the poll thread does when the group gives and takes partitions."""

from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import CancelledError, Future
from threading import Event
from typing import Protocol

import structlog
from confluent_kafka import OFFSET_INVALID, Consumer, KafkaException
from confluent_kafka import TopicPartition as ClientPartition

from workers.core.deadlines import Deadline
from workers.core.errors import RelayError
from workers.core.records import Position, TopicPartition
from workers.kafka.commits import Committer, Offer
from workers.kafka.failures import is_passing, kafka_error, unreachable
from workers.kafka.membership import SubscriptionPolicy
from workers.kafka.ownership import Ownership

_log = structlog.get_logger()

_COMMITTED_TIMEOUT = 5.0


class RebalanceSide(Protocol):
    """What the event loop is told, in this order of calls. None of these blocks or raises."""

    def assigned(
        self, positions: Mapping[TopicPartition, Position | None], epochs: Mapping[TopicPartition, int]
    ) -> None:
        """Partitions came."""

    def revoked(self, partitions: Sequence[TopicPartition]) -> Future[Mapping[TopicPartition, Position]]:
        """Partitions must go; the future brings what to commit."""

    def lost(self, partitions: Sequence[TopicPartition]) -> None:
        """Partitions went."""


class Rebalances:
    """The three callbacks of `Consumer.subscribe`. They run in the poll thread, inside of a poll."""

    def __init__(
        self,
        ownership: Ownership,
        committer: Committer,
        loop_side: RebalanceSide,
        policy: SubscriptionPolicy,
        stopping: Event,
    ) -> None:
        self._ownership = ownership
        self._committer = committer
        self._loop_side = loop_side
        self._policy = policy
        self._stopping = stopping

    def subscribe(self, consumer: Consumer, topics: Sequence[str], forget: Callable[[], None]) -> None:
        """Subscribe; `forget` is called after every change, when nobody knows which pauses the client has kept."""

        def on_assign(client: Consumer, partitions: list[ClientPartition]) -> None:
            self._assign(client, partitions)
            forget()

        def on_revoke(client: Consumer, partitions: list[ClientPartition]) -> None:
            self._revoke(client, [TopicPartition(item.topic, item.partition) for item in partitions])
            forget()

        def on_lost(_client: Consumer, partitions: list[ClientPartition]) -> None:
            self._lose([TopicPartition(item.topic, item.partition) for item in partitions])
            forget()

        consumer.subscribe(list(topics), on_assign=on_assign, on_revoke=on_revoke, on_lost=on_lost)

    def _assign(self, consumer: Consumer, partitions: list[ClientPartition]) -> None:
        if self._stopping.is_set():
            return
        if not partitions:  # others have them all: a place in the group none the less
            self._loop_side.assigned({}, {})
            return
        positions = self._committed(consumer, partitions)
        starts = [
            ClientPartition(*place, OFFSET_INVALID if position is None else position.offset)
            for place, position in positions.items()
        ]
        epochs = self._ownership.assign(positions)
        # With the very positions that the listener hears, so that metadata and first record belong together.
        consumer.incremental_assign(starts)
        _log.info("kafka_assigned", partitions=[str(place) for place in positions])
        self._loop_side.assigned(positions, epochs)

    def _committed(
        self, consumer: Consumer, partitions: list[ClientPartition]
    ) -> dict[TopicPartition, Position | None]:
        """Where the group stands. Guessing would repeat finished work, so this waits for an answer."""
        deadline = Deadline.after(self._policy.assign_timeout)
        while True:
            try:
                return _positions(consumer.committed(partitions, timeout=_COMMITTED_TIMEOUT))
            except KafkaException as error:
                failure = kafka_error(error)
                if deadline.expired or self._stopping.is_set() or not is_passing(failure):
                    raise unreachable("the group's coordinator", failure) from error
                _log.warning("kafka_committed_unknown", error=failure.str())

    def _revoke(self, consumer: Consumer, partitions: Sequence[TopicPartition]) -> None:
        epochs = self._ownership.epochs
        ours = [place for place in partitions if place in epochs]
        try:
            if ours and not self._stopping.is_set():
                positions = self._ask(ours)
                offers = {
                    place: Offer(epochs[place], position)
                    for place, position in positions.items()
                    if place in ours
                }
                self._committer.commit_now(consumer, offers, Deadline.after(self._policy.commit_timeout))
        except RelayError as error:
            _log.warning("kafka_revoked_uncommitted", error=str(error))
        finally:
            self._ownership.drop(ours)
        _log.info("kafka_revoked", partitions=[str(place) for place in ours])

    def _ask(self, partitions: Sequence[TopicPartition]) -> Mapping[TopicPartition, Position]:
        """Let the listener finish; no positions where it fails or takes too long."""
        answer = self._loop_side.revoked(partitions)
        try:
            return answer.result(self._policy.revoke_timeout)
        except (TimeoutError, CancelledError):
            answer.cancel()
            _log.warning("kafka_revoke_timed_out", seconds=self._policy.revoke_timeout)
            return {}

    def _lose(self, partitions: Sequence[TopicPartition]) -> None:
        ours = [place for place in partitions if place in self._ownership.epochs]
        self._ownership.drop(ours)
        _log.warning("kafka_lost", partitions=[str(place) for place in ours])
        if ours and not self._stopping.is_set():
            self._loop_side.lost(ours)


def _positions(found: list[ClientPartition]) -> dict[TopicPartition, Position | None]:
    """`committed()`'s answer. Raises `KafkaException` for a partition that has none."""
    positions: dict[TopicPartition, Position | None] = {}
    for item in found:
        if item.error is not None:
            raise KafkaException(item.error)
        known = Position(item.offset, item.metadata or "") if item.offset >= 0 else None
        positions[TopicPartition(item.topic, item.partition)] = known
    return positions
