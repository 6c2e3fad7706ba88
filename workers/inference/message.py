"""A message on its way through the worker, the assignment it came with, and what it can end as."""

import asyncio
from collections import deque
from collections.abc import Callable, Hashable
from dataclasses import dataclass, field
from decimal import Decimal
from enum import Enum, auto
from typing import NamedTuple

from schemas.envelope import Request
from schemas.formats import WireFormat
from workers.core.errors import MessageError
from workers.core.ports import Answer
from workers.core.records import Position, Received, TopicPartition, weight
from workers.inference.marks import Marks
from workers.policies.offsets import OffsetTracker
from workers.policies.retry import RetryState


class Hold(Enum):
    """Why a partition is paused; it is fetched from again when no reason is left."""

    WINDOW = auto()  # as many of its records as allowed are unfinished
    MEMORY = auto()  # the records of all partitions together take too much memory
    DELAY = auto()  # the first record of a delay topic's partition is not due
    DRAIN = auto()  # the worker takes nothing more


@dataclass(slots=True, eq=False)
class Assignment:
    """One partition for as long as it is ours once. Assigned again it is another assignment.

    Whoever completes a message tells its assignment; one that has ended (`open` False) commits nothing any more.
    """

    partition: TopicPartition
    epoch: int
    tracker: OffsetTracker
    committed: Position | None = None
    open: bool = True
    ending: bool = False  # starts nothing more, not even another attempt
    moved: bool = False  # whether the position may have changed since the last commit
    bytes_held: int = 0  # by the records that are not finished
    running: "set[Message]" = field(default_factory=set)  # started, neither finished nor abandoned
    idle: asyncio.Event = field(default_factory=asyncio.Event)  # set whenever nothing is left running
    held: "deque[tuple[float, Message]]" = field(
        default_factory=deque
    )  # not due yet: when (monotonic), and what
    timer: asyncio.TimerHandle | None = None  # for the first that is held
    holds: set[Hold] = field(default_factory=set)


class Message:
    """One record and what is known of it. Times are monotonic seconds."""

    __slots__ = (
        "abandon",
        "asked",
        "assignment",
        "deadline",
        "first_token",
        "given_up",
        "instance",
        "key",
        "lane",
        "marks",
        "model_seconds",
        "record",
        "request",
        "size",
        "spent",
        "started",
        "state",
        "taken_at",
        "task",
        "ticket",
        "waiting",
        "wakes_at",
        "wire",
    )

    def __init__(
        self, record: Received, assignment: Assignment, lane: Hashable | None, taken_at: float
    ) -> None:
        self.record = record
        self.assignment = assignment
        self.lane = lane
        self.taken_at = taken_at
        self.size = weight(record)
        self.marks = Marks(record)
        first = self.marks.first_failed_ms
        self.state = RetryState(
            self.marks.attempts, self.marks.deferrals, None if first is None else first / 1000
        )
        self.request: Request | None = None  # until it is decoded
        self.key = ""  # of its outcome, once it is decoded
        self.asked: Request | None = None  # the same, with the conversation that it goes on with
        self.wire = WireFormat.JSON
        self.deadline: float | None = None
        self.instance: str | None = None  # of the last attempt
        self.model_seconds = 0.0  # in all attempts made here
        self.first_token: float | None = (
            None  # seconds from the start of the last attempt, where it was streamed
        )
        self.spent: Decimal | None = None  # in these attempts; None: nobody knows a price or a usage
        self.waiting = False  # in memory, for its next attempt
        self.wakes_at = 0.0  # when its wait for the next attempt is over
        self.started = False  # its task has run
        self.given_up = False
        self.ticket = 0  # of the safety valve
        self.task: asyncio.Task[None] | None = None  # that works on it, where one does
        self.abandon: Callable[[], None] | None = None  # ends the call that is under way without a task

    @property
    def message_id(self) -> str:
        """The envelope's; while that can't be read the router's word, and else the record's position."""
        if self.request is not None:
            return self.request.message_id
        return self.marks.message_id or self.record.position


class AbandonedError(Exception):
    """The message is left as it is: not finished, so it comes again, here or elsewhere."""


class Answered(NamedTuple):
    """A backend gave an answer; `repeated`: to an earlier copy of the message; `cached`: to another with the same question
    (`exact`) or one like it (`semantic`).
    """

    answer: Answer
    repeated: bool = False
    cached: str | None = None


class Failed(NamedTuple):
    """There will be no answer; `dead_letter` says whether an operator should find the message."""

    error: MessageError
    dead_letter: bool


class Delayed(NamedTuple):
    """The message goes to the delay topic of this label; `not_before_ms` is epoch milliseconds."""

    label: str
    not_before_ms: int
    error: MessageError


class Rerouted(NamedTuple):
    """The message goes to the topic of another target, which may hand it on to the `rest`."""

    target: str
    rest: tuple[str, ...]


class Shadowed(NamedTuple):
    """The end of a copy that nobody waits for: an answer, a failure, or None where it was dropped."""

    result: Answer | MessageError | None

    @property
    def word(self) -> str:
        """For metrics."""
        if self.result is None:
            return "dropped"
        return "error" if isinstance(self.result, MessageError) else "ok"


Outcome = Answered | Failed | Delayed | Rerouted | Shadowed
