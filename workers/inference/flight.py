"""A message that needs one call and nothing else, from its lease to its answer: no task, no coroutine.

What goes another way than most, because something failed or has to wait, is handed to the pipeline as it stands.
Without coroutines, so that it can be compiled.
"""

from collections.abc import Callable
from typing import NamedTuple, Protocol

from workers.core.clock import Clock
from workers.core.errors import MessageError
from workers.core.ports import Answer
from workers.inference.calling import bug
from workers.inference.message import Answered, Message, Outcome
from workers.inference.once import Later, Lease, Start
from workers.inference.pool import Pool, Slot
from workers.inference.steps import Steps


class Ends(Protocol):
    """Where a flight goes from the air."""

    def walk(self, message: Message, slot: Slot) -> None:
        """Begin again with a task: it waits for something that nobody knows yet."""

    def go_on(self, flight: "Flight") -> None:
        """Its first call can't be made at once: make it with a task."""

    def failed(self, flight: "Flight", failure: MessageError) -> None:
        """Its first call failed, or is not worth making: the slot is given back, the lease is kept."""

    def answered(self, flight: "Flight", answer: Answer) -> None:
        """Put the answer on record, and publish it then."""

    def ended(self, message: Message, outcome: Outcome) -> None:
        """Publish this."""

    def left(self, message: Message, lease: Lease | None) -> None:
        """The message is left as it is, here or elsewhere it comes again."""

    def broke(self, flight: "Flight", error: Exception) -> None:
        """Something broke that must not: the message is left as it is, and the process has to stop."""


class FlightPlan(NamedTuple):
    """What the flights of one target share."""

    target: str
    steps: Steps
    pool: Pool
    clock: Clock


class Flight:
    """One message with the slot for its call."""

    __slots__ = ("_abandon", "_began", "_ends", "_plan", "lease", "message", "slot")

    def __init__(self, plan: FlightPlan, ends: Ends, message: Message, slot: Slot) -> None:
        self._plan = plan
        self._ends = ends
        self._began = 0.0
        self._abandon: Callable[[], None] | None = None
        self.message = message
        self.slot = slot
        self.lease: Lease | None = None

    def start(self, start: Start) -> None:
        """The lease is had or not needed, or there is an answer, or somebody else is at it."""
        plan, message = self._plan, self.message
        if isinstance(start, Later):
            self._ends.walk(message, self.slot)
        elif isinstance(start, Answer):
            plan.pool.give_up(self.slot)
            self._ends.ended(message, Answered(start, repeated=True))
        else:
            self.lease = start
            self._call_in_time()

    def _call_in_time(self) -> None:
        plan, message = self._plan, self.message
        if message.given_up:
            plan.pool.give_up(self.slot)
            self._ends.left(message, self.lease)
            return
        try:
            plan.steps.check_time(message)
        except MessageError as failure:
            plan.pool.give_up(self.slot)
            self._ends.failed(self, failure)
            return
        self._call()

    def _call(self) -> None:
        plan, message, backend = self._plan, self.message, self.slot.instance.prompt
        assert backend is not None  # noqa: S101 - see `Express.start`
        message.instance = backend.name
        self._began = plan.clock.monotonic()
        try:
            self._abandon = backend.begin(plan.steps.call(message, self._began), self._told)
        except Exception as error:  # noqa: BLE001 - as `calling.ask` does
            self._told(error)
            return
        if self._abandon is None:
            self._ends.go_on(self)
        else:
            message.abandon = self._leave

    def _told(self, result: Answer | Exception) -> None:
        """What the backend tells, from a callback of its connection: nobody there knows what an exception means."""
        try:
            self._over(result)
        except Exception as error:  # noqa: BLE001 - whatever it is, the process must not go on as if nothing were
            self._ends.broke(self, error)

    def _over(self, result: Answer | Exception) -> None:
        plan, message = self._plan, self.message
        message.abandon = None
        if not isinstance(result, Answer | MessageError):
            result = bug(result, self.slot.backend.name, plan.target)
        plan.steps.over(message, self.slot, self._began, result)
        if isinstance(result, Answer):
            self._ends.answered(self, result)
        else:
            self._ends.failed(self, result)

    def _leave(self) -> None:
        """Abandon the call."""
        plan, message = self._plan, self.message
        message.abandon = None
        if self._abandon is not None:
            self._abandon()
        plan.pool.give_up(self.slot)
        self._ends.left(message, self.lease)
