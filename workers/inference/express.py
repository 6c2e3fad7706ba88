"""Messages that need one call and nothing else, many at a time: a task a round trip to the store, and none a message.

What a message costs is mostly the waiting for one thing after the other. Here messages that start in one turn of the
event loop ask for their leases together, and those that are answered in one turn are recorded together; between the two
each is a `Flight`. Whatever goes another way than most goes on with a task of its own, in the pipeline.
"""

import asyncio
from collections.abc import Awaitable, Callable, Collection, Sequence
from functools import partial
from typing import TypeVar

from workers.core.errors import MessageError
from workers.core.ports import Answer
from workers.inference.flight import Flight, FlightPlan
from workers.inference.message import Answered, Message, Outcome
from workers.inference.once import Lease, OncePerId, Start
from workers.inference.pipeline import Pipeline
from workers.inference.pool import Pool, Slot
from workers.inference.waiting import told
from workers.inference.walk import Walks

T = TypeVar("T")


class Express:
    """The express way of one target."""

    def __init__(
        self, plan: FlightPlan, pipeline: Pipeline, pool: Pool, once: OncePerId, walks: Walks
    ) -> None:
        self._plan = plan
        self._pipeline = pipeline
        self._pool = pool
        self._once = once
        self._walks = walks
        self._starting: list[Flight] = []
        self._answered: list[tuple[Flight, Answer]] = []
        self._tasks: set[asyncio.Task[None]] = set()
        self._loop: asyncio.AbstractEventLoop | None = None

    def start(self, message: Message, slot: Slot) -> bool:
        """Start it with the others of this turn of the event loop. False: it does not go this way."""
        if message.marks.shadow_of is not None or not slot.taken or slot.instance.prompt is None:
            return False
        try:
            request = self._plan.steps.read(message)
            self._plan.steps.check_time(message)
        except Exception:  # noqa: BLE001 - the pipeline finds the same, and knows what follows
            return False
        if request.payload.stream:
            return False
        if not self._starting:
            self._soon(self._claim)
        self._starting.append(Flight(self._plan, self, message, slot))
        return True

    # -- what flights tell -------------------------------------------------------------------------------------------

    def walk(self, message: Message, slot: Slot) -> None:
        """See `Ends`."""
        self._walks.walk(message, slot)

    def go_on(self, flight: Flight) -> None:
        """See `Ends`."""
        message, slot, lease = flight.message, flight.slot, flight.lease
        way = partial(self._pipeline.go_on, message, slot, lease)
        self._walks.resume(message, way, partial(self._give_up, slot, lease))

    def failed(self, flight: Flight, failure: MessageError) -> None:
        """See `Ends`."""
        message, slot, lease = flight.message, flight.slot, flight.lease
        way = partial(self._pipeline.after, message, slot, lease, failure)
        self._walks.resume(message, way, partial(self._give_up, None, lease))

    def answered(self, flight: Flight, answer: Answer) -> None:
        """See `Ends`."""
        if not self._answered:
            self._soon(self._record)
        self._answered.append((flight, answer))

    def ended(self, message: Message, outcome: Outcome) -> None:
        """See `Ends`."""
        self._walks.ended(message, outcome)

    def left(self, message: Message, lease: Lease | None) -> None:
        """See `Ends`."""
        self._give_up(None, lease)
        self._walks.abandon(message)

    def broke(self, flight: Flight, error: Exception) -> None:
        """See `Ends`."""
        self._broke([flight], error)

    @property
    def tasks(self) -> Collection[asyncio.Task[None]]:
        """What the store is being asked; to be waited for before leases are ended, so that none is taken after."""
        return self._tasks

    # -- many at a time ----------------------------------------------------------------------------------------------

    def _claim(self) -> None:
        flights, self._starting = self._starting, []
        asked = self._once.claim_all([flight.message.key for flight in flights])
        self._ask(asked, partial(self._claimed, flights), flights)

    def _claimed(self, flights: Sequence[Flight], starts: Sequence[Start] | Exception) -> None:
        if isinstance(starts, Exception):
            self._broke(flights, starts)
            return
        for flight, start in zip(flights, starts, strict=True):
            try:
                flight.start(start)
            except Exception as error:  # noqa: BLE001 - whatever it is, the process must not go on as if nothing were
                self._walks.broke(flight.message, error)

    def _record(self) -> None:
        answered, self._answered = self._answered, []
        leased = [(flight.lease, answer) for flight, answer in answered if flight.lease is not None]
        if leased:
            # Before a response is published: killed in between, the next worker finds the record and calls nobody.
            recorded = partial(self._recorded, answered)
            self._ask(self._once.answered_all(leased), recorded, [flight for flight, _ in answered])
        else:
            self._recorded(answered, None)

    def _recorded(self, answered: Sequence[tuple[Flight, Answer]], error: Exception | None) -> None:
        if error is not None:
            self._broke([flight for flight, _ in answered], error)
            return
        for flight, answer in answered:
            message = flight.message
            if message.given_up:
                self._walks.abandon(message)
            else:
                self._walks.ended(message, Answered(answer))

    def _broke(self, flights: Sequence[Flight], error: Exception) -> None:
        for flight in flights:
            self._walks.broke(flight.message, error)

    def _give_up(self, slot: Slot | None, lease: Lease | None) -> None:
        if slot is not None:
            self._pool.give_up(slot)
        if lease is not None:
            self._once.abandon(lease)

    def _soon(self, work: Callable[[], None]) -> None:
        """Do it once this turn of the event loop is over."""
        if self._loop is None:  # looked up once: every look-up costs a system call
            self._loop = asyncio.get_running_loop()
        self._loop.call_soon(work)

    def _ask(
        self, asked: Awaitable[T], then: Callable[[T | Exception], None], flights: Sequence[Flight]
    ) -> None:
        assert self._loop is not None  # noqa: S101 - nothing is asked before it is looked up
        task = self._loop.create_task(told(asked, then, partial(self._broke, flights)))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
