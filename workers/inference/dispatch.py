"""Starts messages while there is room for their calls, and sees each to its end."""

import asyncio
from collections.abc import Callable, Collection
from functools import partial

from workers.inference.delivery import Delivery
from workers.inference.express import Express
from workers.inference.flight import FlightPlan
from workers.inference.gate import Gate
from workers.inference.intake import Intake
from workers.inference.message import Message, Outcome
from workers.inference.once import OncePerId
from workers.inference.pipeline import Pipeline
from workers.inference.pool import Pool, Slot
from workers.inference.shadow import Shadows
from workers.inference.walk import Way, walk


class Dispatcher:
    """A slot is taken before a message starts, so no more start than can be called at once.

    Most go the express way; the others get a task each, and so does what can't go on there.
    """

    def __init__(
        self,
        gate: Gate,
        intake: Intake,
        pool: Pool,
        ways: tuple[Pipeline, Shadows],
        delivery: Delivery,
    ) -> None:
        """`ways`: what makes outcomes of messages, and of shadows."""
        self._gate = gate
        self._intake = intake
        self._pool = pool
        self._pipeline, self._shadows = ways
        self._delivery = delivery
        self._express: Express | None = None
        self._failed: Callable[[BaseException], None] = lambda _: None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._filling = False
        pool.when_room(self._fill_soon)
        gate.when_open(self.fill)

    def send_express(self, plan: FlightPlan, once: OncePerId) -> None:
        """Let those messages go the express way that need no more."""
        self._express = Express(plan, self._pipeline, self._pool, once, self)

    @property
    def tasks(self) -> Collection[asyncio.Task[None]]:
        """What is under way between messages and the store."""
        return self._express.tasks if self._express is not None else ()

    def when_failed(self, callback: Callable[[BaseException], None]) -> None:
        """Call this when something breaks that must not: the process has to stop."""
        self._failed = callback

    def fill(self) -> None:
        """Start what is ready, as far as there is room."""
        self._filling = False
        express = self._express
        while self._gate.open and self._pool.room and (message := self._intake.take()) is not None:
            self._gate.take(message)
            slot = self._pool.take(message.record.key)
            assert slot is not None  # noqa: S101 - there was room
            if express is None or not express.start(message, slot):
                self.walk(message, slot)

    def _fill_soon(self) -> None:
        """Once for all slots that become free in this turn of the event loop, so that their messages start together."""
        if not self._filling:
            self._filling = True
            self._running_loop().call_soon(self.fill)

    # -- what the express way asks for ---------------------------------------------------------------------------------

    def walk(self, message: Message, slot: Slot) -> None:
        """See `Walks`."""
        way = self._pipeline if message.marks.shadow_of is None else self._shadows
        self.resume(message, partial(way.process, message, slot), partial(self._pool.give_up, slot))

    def resume(self, message: Message, way: Way, give_up: Callable[[], None]) -> None:
        """See `Walks`."""
        message.task = self._running_loop().create_task(walk(self, message, way, give_up))

    def ended(self, message: Message, outcome: Outcome) -> None:
        """See `Walks`."""
        try:
            if message.assignment.open:
                self._delivery.add(message, outcome)
            else:
                self.abandon(message)
        except Exception as error:  # noqa: BLE001 - whatever it is, the process must not go on as if nothing were
            self.broke(message, error)

    def abandon(self, message: Message) -> None:
        """See `Walks`."""
        self._intake.abandon(message)
        self._gate.leave(message)

    def broke(self, message: Message, error: Exception) -> None:
        """See `Walks`."""
        self.abandon(message)
        self._failed(error)

    def _running_loop(self) -> asyncio.AbstractEventLoop:
        if self._loop is None:  # looked up once: every look-up costs a system call
            self._loop = asyncio.get_running_loop()
        return self._loop
