"""What comes out of the subscription: assignments, and the messages that wait for their start.

Without coroutines, so that it can be compiled; how assignments end is in `listening`.
"""

from collections.abc import Callable, Collection, Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field

import structlog

from workers.core.clock import Clock
from workers.core.ports import Subscription
from workers.core.records import Position, Received, TopicPartition
from workers.inference.delay import DelayGate
from workers.inference.message import Assignment, Hold, Message
from workers.inference.throttle import Limits, Throttle
from workers.policies.finished import DamagedMetadataError, decode
from workers.policies.lanes import Lanes
from workers.policies.offsets import OffsetTracker
from workers.policies.turns import FairQueue, Flow

log = structlog.get_logger()

_USUAL_SIZE = 4096  # bytes


@dataclass(frozen=True, slots=True)
class IntakePolicy:
    """How one target's records are taken. `delays`: its delay topics and their delays in seconds."""

    delays: Mapping[str, float]
    ordered: bool = False  # keep each key's order
    flow_of: Callable[[Message], Flow] | None = None  # whose turn it is; None: the first that came
    limits: Limits = field(default_factory=Limits)
    revoke_budget: float = 4.0  # seconds that a rebalance waits for the calls under way


@dataclass(frozen=True, slots=True)
class Hooks:
    """Whom the intake tells."""

    work: Callable[[], None]  # messages may be ready to start
    failed: Callable[[BaseException], None]  # the subscription can't go on


class Intake:
    """What one target's worker holds. Everything happens on the event loop."""

    def __init__(self, subscription: Subscription, policy: IntakePolicy, clock: Clock) -> None:
        self._policy = policy
        self._clock = clock
        self._hooks = Hooks(lambda: None, lambda _: None)
        ready = None if policy.flow_of is None else FairQueue(policy.flow_of, _cost)
        self._lanes: Lanes[Message] = Lanes(ready)
        self._assignments: dict[TopicPartition, Assignment] = {}
        self._throttle = Throttle(subscription, policy.limits)
        self._gate = DelayGate(policy.delays, self._throttle, clock)
        self._gate.when_due(self._enter)
        self._epoch = 0
        self._draining = False
        self.received = 0  # records ever taken
        self.finished = 0

    def tell(self, hooks: Hooks) -> None:
        """Whom to tell from now on."""
        self._hooks = hooks

    def assigned(self, partitions: Mapping[TopicPartition, Position | None]) -> None:
        """See `Listener`."""
        self.lost([partition for partition in partitions if partition in self._assignments])
        for partition, committed in partitions.items():
            self._epoch += 1
            tracker = OffsetTracker(_finished(partition, committed))
            assignment = Assignment(partition, self._epoch, tracker, committed)
            self._assignments[partition] = assignment
            if self._draining:
                self._throttle.hold(assignment, Hold.DRAIN)

    def records(self, batch: Sequence[Received]) -> None:
        """See `Listener`."""
        if self._draining:
            return  # not started, so not finished: they come again
        now = self._clock.monotonic()
        touched: dict[Assignment, None] = {}
        assignment: Assignment | None = None
        before: Received | None = None
        for record in batch:  # which come partition by partition
            if before is None or record.partition != before.partition or record.topic != before.topic:
                assignment = self._starting(record)
                if assignment is not None:
                    touched[assignment] = None
            before = record
            if assignment is not None:
                self._take_in(record, assignment, now)
        self.received += len(batch)
        self._throttle.check(touched, self._assignments.values())
        self._hooks.work()

    def _starting(self, record: Received) -> Assignment | None:
        """The assignment that this came with, unless that has ended, or starts nothing any more."""
        assignment = self._assignments.get(TopicPartition(record.topic, record.partition))
        return None if assignment is None or assignment.ending else assignment

    def _take_in(self, record: Received, assignment: Assignment, now: float) -> None:
        if not assignment.tracker.start(record.offset):
            assignment.moved = True
            return
        message = Message(record, assignment, self._lane(assignment, record.key), now)
        if message.marks.shadow_of is not None:
            message.lane = None  # nobody waits for a shadow
        assignment.bytes_held += message.size
        if not self._gate.holds(message):
            self._lanes.add(message, message.lane)

    def ends(self, partitions: Sequence[TopicPartition]) -> list[Assignment]:
        """These are about to end: nothing more of them starts."""
        ending = self._of(partitions)
        self._forget_waiting(ending)
        return ending

    def over(self, ending: Sequence[Assignment]) -> Mapping[TopicPartition, Position]:
        """These have ended; gives what of them may be committed."""
        positions = {each.partition: each.tracker.position() for each in ending}
        self._end(ending)
        return {partition: position for partition, position in positions.items() if position is not None}

    def lost(self, partitions: Sequence[TopicPartition]) -> None:
        """See `Listener`."""
        ending = self._of(partitions)
        if ending:
            self._forget_waiting(ending)
            self._end(ending)

    @property
    def ready(self) -> bool:
        """Whether `take` would give a message."""
        return self._lanes.ready

    def take(self) -> Message | None:
        """The next message to start. It counts as running until `finish` or `abandon`."""
        message = self._lanes.next()
        if message is not None:
            message.assignment.running.add(message)
        return message

    def finish(self, messages: Iterable[Message]) -> None:
        """The outcomes of these are delivered: nothing of them is left to do. An ended assignment takes no notice."""
        touched: dict[Assignment, None] = {}
        for message in messages:
            assignment = message.assignment
            assignment.running.discard(message)
            touched[assignment] = None
            if assignment.open:
                self.finished += 1
                assignment.tracker.finish(message.record.offset)
                assignment.bytes_held -= message.size
                assignment.moved = True
                self._lanes.done(message.lane)
        for assignment in touched:
            if not assignment.running:
                assignment.idle.set()
        self._throttle.relieve(touched, self._assignments.values())
        if self._lanes.ready:
            self._hooks.work()

    def abandon(self, message: Message) -> None:
        """The message is left unfinished, and comes again, here or elsewhere."""
        message.assignment.running.discard(message)
        if not message.assignment.running:
            message.assignment.idle.set()

    def moved(self) -> dict[Assignment, Position]:
        """The positions that differ from what was committed last; each is given once."""
        positions: dict[Assignment, Position] = {}
        for assignment in self._assignments.values():
            if assignment.moved:
                assignment.moved = False
                position = assignment.tracker.position()
                if position is not None and position != assignment.committed:
                    positions[assignment] = position
        self._throttle.relieve(self._assignments.values(), self._assignments.values())
        return positions

    def drains(self) -> list[Assignment]:
        """Fetch no more, and forget what has not started."""
        self._draining = True
        everything = list(self._assignments.values())
        for assignment in everything:
            self._throttle.hold(assignment, Hold.DRAIN)
        self._forget_waiting(everything)
        return everything

    def abort(self) -> None:
        """Drop everything at once; nothing more is committed."""
        self._draining = True
        everything = list(self._assignments.values())
        self._forget_waiting(everything)
        self._end(everything)

    @property
    def waits(self) -> bool:
        """Whether a message waits for a time that is known: for its next attempt, or in a delay topic."""
        now = self._clock.monotonic()
        return any(
            (assignment.held and assignment.held[0][0] > now)
            or any(message.wakes_at > now for message in assignment.running)
            for assignment in self.assignments
        )

    @property
    def assignments(self) -> Collection[Assignment]:
        """The partitions that are ours."""
        return self._assignments.values()

    def _of(self, partitions: Iterable[TopicPartition]) -> list[Assignment]:
        return [self._assignments[partition] for partition in partitions if partition in self._assignments]

    def _lane(self, assignment: Assignment, key: bytes | None) -> Hashable | None:
        return (assignment.epoch, key) if self._policy.ordered and key is not None else None

    def _enter(self, messages: Iterable[Message]) -> None:
        for message in messages:
            self._lanes.add(message, message.lane)
        self._hooks.work()

    def _forget_waiting(self, ending: Sequence[Assignment]) -> None:
        """Start nothing more of these: neither messages nor further attempts."""
        epochs = {assignment.epoch for assignment in ending}
        self._lanes.drop(
            lambda message: message.assignment.epoch in epochs,
            lambda lane: isinstance(lane, tuple) and lane[0] in epochs,
        )
        for assignment in ending:
            assignment.ending = True
            self._gate.forget(assignment)
            give_up(message for message in assignment.running if message.waiting)

    def _end(self, ending: Iterable[Assignment]) -> None:
        for assignment in ending:
            assignment.open = False
            give_up(assignment.running)
            self._assignments.pop(assignment.partition, None)


def _cost(message: Message) -> float:
    """A long prompt counts for several short ones."""
    return 1.0 + message.size / _USUAL_SIZE


def give_up(messages: Iterable[Message]) -> None:
    """Cancel their tasks and calls; what has begun neither sees the mark by itself: a task that has not run never would."""
    for message in list(messages):
        message.given_up = True
        if message.started and message.task is not None:
            message.task.cancel()
        elif message.abandon is not None:
            message.abandon()


def _finished(partition: TopicPartition, committed: Position | None) -> frozenset[int]:
    """What the last commit's metadata says is finished behind it; damaged or foreign metadata says nothing."""
    if committed is None:
        return frozenset()
    try:
        return decode(committed.offset, committed.metadata)
    except DamagedMetadataError as error:
        log.warning(
            "commit_metadata_ignored", partition=str(partition), offset=committed.offset, error=str(error)
        )
        return frozenset()
