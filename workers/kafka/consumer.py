"""The port `Subscription` over confluent-kafka's consumer.

    poll thread                          event loop
    poll, rebalance callbacks  --FIFO--> Holding (paused partitions) -> Listener
    pause and resume           <-------- what is full
    commits                    <-------- `commit`

Everything that happens goes through one queue in the order in which it happened, so that records never overtake a
revocation, nor the other way round.
"""

import asyncio
from collections import deque
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from concurrent.futures import Future
from functools import partial

import structlog

from workers.core.deadlines import Deadline
from workers.core.errors import FatalError
from workers.core.metrics import Metrics
from workers.core.ports import Listener
from workers.core.records import Position, Received, TopicPartition
from workers.kafka.commits import Offer
from workers.kafka.holding import Holding, ends_of
from workers.kafka.membership import SubscriptionPolicy
from workers.kafka.polling import PollThread

_log = structlog.get_logger()

_Positions = Mapping[TopicPartition, Position]


class KafkaSubscription:
    """One member of a consumer group. Start it once; all methods belong to the loop that started it.

    `close` calls no listener: who stops pauses, finishes, commits, and then closes.
    """

    def __init__(
        self,
        config: Mapping[str, object],
        group: str,
        topics: Sequence[str],
        metrics: Metrics,
        policy: SubscriptionPolicy | None = None,
    ) -> None:
        self._policy = policy or SubscriptionPolicy()
        self._group = group
        self._make = partial(PollThread, config, group, topics, self._policy, metrics=metrics)
        self._thread: PollThread | None = None
        self._listener: Listener | None = None
        self._inbox: deque[Callable[[], None]] = deque()
        self._scheduled = False
        self._handed = 0  # written by the poll thread alone
        self._taken = 0  # written by the loop alone
        self._holding = Holding()
        self._releasing = False
        self._epochs: dict[TopicPartition, int] = {}
        self._next: dict[TopicPartition, int] = {}
        self._at_end: dict[TopicPartition, int] = {}  # and the offset of that end
        self._revocations: set[asyncio.Task[None]] = set()

    # -- the port ------------------------------------------------------------------------------------------------

    async def start(self, listener: Listener) -> None:
        """See `Subscription`."""
        if self._thread is not None:
            raise FatalError(f"the subscription of group {self._group} was started twice")
        self._loop = asyncio.get_running_loop()
        self._listener = listener
        self._thread = self._make(loop_side=self)
        self._thread.start()

    def pause(self, partitions: Sequence[TopicPartition]) -> None:
        """See `Subscription`. What was fetched already is kept here and comes first after `resume`."""
        self._holding.pause([place for place in partitions if place in self._epochs])

    def resume(self, partitions: Sequence[TopicPartition]) -> None:
        """See `Subscription`."""
        if self._holding.resume(partitions):
            self._release_soon()

    async def commit(self, positions: _Positions) -> None:
        """See `Subscription`. Also raises `FatalError` where the broker refuses this group's commits for good."""
        offers = {
            place: Offer(self._epochs[place], position)
            for place, position in positions.items()
            if place in self._epochs
        }
        if self._thread is None:
            return
        committer = self._thread.committer
        committer.drop(len(positions) - len(offers))
        if offers:
            deadline = Deadline.after(self._policy.commit_timeout)
            await asyncio.wrap_future(committer.submit(offers, deadline))

    async def lag(self) -> Mapping[TopicPartition, int]:
        """See `Subscription`. The end of a paused partition is the one from before the pause."""
        if self._thread is None:
            return {}
        read = self._read_to_the_end
        return {
            place: 0 if place in read else max(0, end - self._next.get(place, low))
            for place, (low, end) in self._thread.ends.items()
            if place in self._epochs and end >= 0
        }

    def positions(self) -> Mapping[TopicPartition, int]:
        """See `Subscription`."""
        read = self._read_to_the_end
        return self._next | {place: end for place, end in self._at_end.items() if place in read}

    @property
    def _read_to_the_end(self) -> Collection[TopicPartition]:
        """What lies between the last record of these and their end are a transaction's marks."""
        return self._at_end.keys() - self._holding.keeping

    async def close(self, deadline: Deadline) -> None:
        """See `Subscription`. Returns at the deadline even if the broker has not confirmed that we left."""
        self._listener = None
        if self._thread is None:
            return
        self._thread.stop()
        for task in self._revocations:
            task.cancel()
        done = await asyncio.to_thread(self._thread.finished.wait, deadline.remaining())
        if not done:
            _log.warning("kafka_leave_unconfirmed", group=self._group)

    # -- what the poll thread calls ------------------------------------------------------------------------------

    @property
    def ahead(self) -> int:
        """See `LoopSide`."""
        return self._handed - self._taken

    @property
    def full(self) -> frozenset[TopicPartition]:
        """See `LoopSide`."""
        return self._holding.full

    def records(self, batch: list[Received], ends: Mapping[TopicPartition, int]) -> None:
        """See `LoopSide`."""
        self._handed += len(batch)
        self._put(partial(self._take, batch, ends))

    def at_end(self, ends: Mapping[TopicPartition, int]) -> None:
        """See `LoopSide`."""
        self._put(partial(self._take_end, ends))

    def assigned(
        self, positions: Mapping[TopicPartition, Position | None], epochs: Mapping[TopicPartition, int]
    ) -> None:
        """See `LoopSide`."""
        self._put(partial(self._take_assigned, positions, epochs))

    def revoked(self, partitions: Sequence[TopicPartition]) -> Future[_Positions]:
        """See `LoopSide`."""
        answer: Future[_Positions] = Future()
        if not self._put(partial(self._take_revoked, partitions, answer)):
            answer.set_result({})
        return answer

    def lost(self, partitions: Sequence[TopicPartition]) -> None:
        """See `LoopSide`."""
        self._put(partial(self._take_lost, partitions))

    def failed(self, error: BaseException) -> None:
        """See `LoopSide`."""
        self._put(partial(self._take_failed, error))

    def _put(self, event: Callable[[], None]) -> bool:
        """Queue an event and wake the loop once for all that are queued. False when the loop is gone."""
        self._inbox.append(event)
        if not self._scheduled:
            self._scheduled = True
            try:
                self._loop.call_soon_threadsafe(self._drain)
            except RuntimeError:  # the loop is closed: nobody is left to tell
                return False
        return True

    # -- on the loop ---------------------------------------------------------------------------------------------

    def _drain(self) -> None:
        # First the flag: an event that is queued from here on wakes us again.
        self._scheduled = False
        try:
            while self._inbox:
                self._inbox.popleft()()
        except Exception as error:  # noqa: BLE001 - records that a listener dropped half-way must not count as taken
            self._stop_with(error)

    def _take(self, batch: list[Received], ends: Mapping[TopicPartition, int]) -> None:
        self._taken += len(batch)
        self._no_more_at_end(ends)
        admitted = self._holding.admit(batch, ends)
        if admitted is batch:
            self._next.update(ends)
            self._deliver(batch)
        elif admitted:
            self._next.update(ends_of(admitted))
            self._deliver(admitted)

    def _take_end(self, ends: Mapping[TopicPartition, int]) -> None:
        self._at_end.update((place, end) for place, end in ends.items() if place in self._epochs)

    def _no_more_at_end(self, places: Iterable[TopicPartition]) -> None:
        for place in places:
            self._at_end.pop(place, None)

    def _deliver(self, batch: list[Received]) -> None:
        if self._listener is not None:
            self._listener.records(batch)

    def _release_soon(self) -> None:
        if not self._releasing:
            self._releasing = True
            self._loop.call_soon(self._release)

    def _release(self) -> None:
        """Deliver what was kept, a bit a turn: the listener may pause again."""
        self._releasing = False
        batch = self._holding.release()
        if batch:
            self._next.update(ends_of(batch))
            try:
                self._deliver(batch)
            except Exception as error:  # noqa: BLE001 - as in `_drain`
                self._stop_with(error)
                return
        if self._holding.waiting:
            self._release_soon()

    def _take_assigned(
        self, positions: Mapping[TopicPartition, Position | None], epochs: Mapping[TopicPartition, int]
    ) -> None:
        self._epochs.update(epochs)
        self._holding.forget(epochs)  # what was said of them while they went is said of them no more
        self._no_more_at_end(epochs)
        self._next.update({place: at.offset for place, at in positions.items() if at is not None})
        if self._listener is not None:
            self._listener.assigned(positions)

    def _take_revoked(self, partitions: Sequence[TopicPartition], answer: Future[_Positions]) -> None:
        if answer.cancelled():  # nobody waits any more, and the partitions are gone
            self._take_lost(partitions)
            return
        self._holding.forget(partitions)
        task = self._loop.create_task(self._revoke(partitions, answer))
        self._revocations.add(task)
        task.add_done_callback(self._revocations.discard)

        def give_up(waited: Future[_Positions]) -> None:
            if waited.cancelled():
                self._put(partial(_cancel, task))

        answer.add_done_callback(give_up)

    async def _revoke(self, partitions: Sequence[TopicPartition], answer: Future[_Positions]) -> None:
        positions: _Positions = {}
        # A revocation that the poll thread gave up on must not forget the assignment that came after it.
        epochs = {place: self._epochs.get(place) for place in partitions}
        try:
            if self._listener is not None:
                positions = await self._listener.revoked(partitions)
        except asyncio.CancelledError:
            self._tell_lost(self._unchanged(epochs))
            raise
        except Exception as error:  # noqa: BLE001 - whatever it was: nothing is committed, and the group must go on
            _log.error("kafka_revoke_failed", group=self._group, error=repr(error))
        finally:
            self._forget(self._unchanged(epochs))
            if not answer.done():
                answer.set_result(positions)

    def _take_lost(self, partitions: Sequence[TopicPartition]) -> None:
        self._forget(partitions)
        self._tell_lost(partitions)

    def _unchanged(self, epochs: Mapping[TopicPartition, int | None]) -> list[TopicPartition]:
        """Those that have not been assigned anew since they had these epochs."""
        return [place for place, epoch in epochs.items() if self._epochs.get(place) == epoch]

    def _tell_lost(self, partitions: Sequence[TopicPartition]) -> None:
        if self._listener is not None and partitions:
            self._listener.lost(partitions)

    def _stop_with(self, error: Exception) -> None:
        if self._thread is not None:
            self._thread.stop()
        self._take_failed(error)

    def _take_failed(self, error: BaseException) -> None:
        listener, self._listener = self._listener, None
        if listener is not None:
            listener.failed(error)

    def _forget(self, partitions: Sequence[TopicPartition]) -> None:
        for place in partitions:
            self._epochs.pop(place, None)
            self._next.pop(place, None)
        self._holding.forget(partitions)
        self._no_more_at_end(partitions)


def _cancel(task: asyncio.Task[None]) -> None:
    task.cancel()
