"""Committing positions: one commit at a time, in the order of the calls, and only for what is still ours.

confluent-kafka lets one thread at a time into a consumer, and a thread that polls in a loop lets nobody else in. So
commits are handed to the poll thread, which sends them without waiting between two polls.
"""

from collections import deque
from collections.abc import Mapping, Sequence
from concurrent.futures import Future
from threading import Event
from typing import NamedTuple

import structlog
from confluent_kafka import Consumer, KafkaError, KafkaException
from confluent_kafka import TopicPartition as ClientPartition

from workers.core.clock import Clock, SystemClock
from workers.core.deadlines import Deadline
from workers.core.errors import FatalError, RelayError, UnreachableError
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


Offers = dict[TopicPartition, Offer]
_Failures = dict[TopicPartition, KafkaError]


class _Caller(NamedTuple):
    """Somebody who waits for a commit."""

    offers: Mapping[TopicPartition, Offer]
    deadline: Deadline
    done: "Future[None]"


class Committer:
    """`submit` and `drop` may be called by any thread, everything else by the poll thread alone.

    Positions of partitions that are not ours any more are dropped and counted: their next owner does that work again.
    """

    def __init__(
        self, group: str, ownership: Ownership, metrics: Metrics, clock: Clock | None = None
    ) -> None:
        self._group = group
        self._clock = clock or SystemClock()
        self._ownership = ownership
        self._queue: deque[_Caller] = deque()
        self._flying: Offers | None = None
        self._callers: list[_Caller] = []  # of the commit under way, or of its next attempt
        self._again: Offers = {}
        self._wait = _FIRST_WAIT
        self._pause = Deadline.after(0, self._clock)
        self._closed = Event()
        self._committed = metrics.counter(COMMITS, group, "ok")
        self._dropped = metrics.counter(COMMITS, group, "dropped")
        self._failed = metrics.counter(COMMITS, group, "failed")

    def drop(self, count: int) -> None:
        """Count positions that came too late to be offered."""
        self._dropped.inc(count)

    def submit(self, offers: Mapping[TopicPartition, Offer], deadline: Deadline) -> "Future[None]":
        """Commit soon, trying again until the deadline what may pass.

        The future fails with `UnreachableError` when that is over, with `FatalError` for what no attempt mends.
        """
        done: Future[None] = Future()
        self._queue.append(_Caller(offers, deadline, done))
        if self._closed.is_set():
            self._resolve(self._take_queued())
        return done

    def pump(self, consumer: Consumer) -> None:
        """Send what waits, unless a commit is under way. Later positions of a partition replace earlier ones."""
        if self._flying is not None or not (self._queue or self._callers):
            return
        if self._callers and not self._pause.expired:
            return
        offers = self._again
        for caller in self._take_queued():
            offers |= caller.offers
            self._callers.append(caller)
        self._again = {}
        wanted = self._still_ours(offers)
        if not wanted:
            self._finish()
            return
        self._flying = wanted
        try:
            consumer.commit(offsets=_client_offsets(wanted), asynchronous=True)
        except KafkaException as error:
            self._land(dict.fromkeys(wanted, kafka_error(error)))

    def on_commit(self, error: KafkaError | None, partitions: Sequence[ClientPartition]) -> None:
        """librdkafka's answer to a commit; those that somebody waited for in `commit_now` are none of ours."""
        answered = {TopicPartition(item.topic, item.partition): item for item in partitions}
        if self._flying is None or {place: item.offset for place, item in answered.items()} != {
            place: offer.position.offset for place, offer in self._flying.items()
        }:
            return
        self._land(_failures(error, partitions))

    def commit_now(
        self, consumer: Consumer, offers: Mapping[TopicPartition, Offer], deadline: Deadline
    ) -> None:
        """Commit and wait, inside of a rebalance. Raises as `submit`'s future does."""
        left, wait = dict(offers), _FIRST_WAIT
        while left and not self._closed.is_set():
            wanted = self._still_ours(left)
            failures = self._attempt(consumer, wanted) if wanted else {}
            self._committed.inc(len(wanted) - len(failures))
            left = self._sort(wanted, failures)
            if left and deadline.expired:
                self._failed.inc(len(left))
                raise _unreachable(self._group, next(iter(failures.values())))
            if left:
                self._closed.wait(min(wait, deadline.remaining()))
                wait = min(2 * wait, _LONGEST_WAIT)

    def close(self) -> None:
        """Let no commit begin any more; what waits is dropped."""
        self._closed.set()
        callers = [*self._callers, *self._take_queued()]
        self._callers, self._flying, self._again = [], None, {}
        for caller in callers:
            self._dropped.inc(len(caller.offers))
        self._resolve(callers)

    def _take_queued(self) -> list[_Caller]:
        """The callers that came in and have not given up since."""
        taken: list[_Caller] = []
        while self._queue:
            caller = self._queue.popleft()
            if caller.done.set_running_or_notify_cancel():
                taken.append(caller)
        return taken

    def _still_ours(self, offers: Mapping[TopicPartition, Offer]) -> Offers:
        epochs = self._ownership.epochs
        ours = {place: offer for place, offer in offers.items() if epochs.get(place) == offer.epoch}
        self._dropped.inc(len(offers) - len(ours))
        return ours

    def _land(self, failures: _Failures) -> None:
        """The commit under way is answered."""
        wanted, self._flying = self._flying or {}, None
        self._committed.inc(len(wanted) - len(failures))
        try:
            self._again = self._sort(wanted, failures)
        except FatalError as error:
            self._finish(error)
            return
        if not self._again:
            self._finish()
            return
        self._give_up_expired(next(iter(failures.values())))
        self._pause = Deadline.after(self._wait, self._clock)
        self._wait = min(2 * self._wait, _LONGEST_WAIT)

    def _give_up_expired(self, error: KafkaError) -> None:
        expired = [caller for caller in self._callers if caller.deadline.expired]
        self._callers = [caller for caller in self._callers if not caller.deadline.expired]
        self._failed.inc(sum(len(caller.offers) for caller in expired))
        self._resolve(expired, _unreachable(self._group, error))
        if not self._callers:
            self._again = {}

    def _finish(self, error: RelayError | None = None) -> None:
        callers, self._callers, self._again, self._wait = self._callers, [], {}, _FIRST_WAIT
        self._resolve(callers, error)

    def _resolve(self, callers: Sequence[_Caller], error: RelayError | None = None) -> None:
        for caller in callers:
            if error is None:
                caller.done.set_result(None)
            else:
                caller.done.set_exception(error)

    def _attempt(self, consumer: Consumer, wanted: Offers) -> _Failures:
        try:
            return _failures(None, consumer.commit(offsets=_client_offsets(wanted), asynchronous=False))
        except KafkaException as error:
            return dict.fromkeys(wanted, kafka_error(error))

    def _sort(self, wanted: Offers, failures: _Failures) -> Offers:
        """What is worth another attempt. Raises `FatalError` where nothing is."""
        again: Offers = {}
        for place, error in failures.items():
            offer = wanted[place]
            if is_lost_ownership(error):
                self._dropped.inc()
                _log.warning("kafka_commit_dropped", partition=str(place), error=error.str())
            elif is_passing(error):
                again[place] = offer
            elif error.code() in _METADATA_REFUSED and offer.position.metadata:
                _log.warning("kafka_commit_metadata_refused", partition=str(place), error=error.str())
                again[place] = Offer(offer.epoch, Position(offer.position.offset))
            else:
                self._failed.inc()
                raise FatalError(f"committing {place} for group {self._group} failed: {error.str()}")
        return again


def _client_offsets(offers: Mapping[TopicPartition, Offer]) -> list[ClientPartition]:
    return [
        ClientPartition(*place, offer.position.offset, offer.position.metadata)
        for place, offer in offers.items()
    ]


def _failures(error: KafkaError | None, answered: Sequence[ClientPartition]) -> _Failures:
    """What failed: all of it, or single partitions."""
    failures: _Failures = {}
    for item in answered:
        failure = item.error or error
        if failure is not None:
            failures[TopicPartition(item.topic, item.partition)] = failure
    return failures


def _unreachable(group: str, error: KafkaError) -> UnreachableError:
    return UnreachableError(
        f"the positions of group {group} can't be committed: {error.str()}; nothing is lost, "
        "but a restart now would repeat what is not committed"
    )
