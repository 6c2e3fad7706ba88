"""Starts messages while there is room for their calls, and sees each to its end."""

import asyncio
from collections.abc import Callable

from workers.inference.delivery import Delivery
from workers.inference.gate import Gate
from workers.inference.intake import Intake
from workers.inference.message import AbandonedError, Message, Outcome
from workers.inference.pipeline import Pipeline
from workers.inference.pool import Pool, Slot
from workers.inference.shadow import Shadows


class Dispatcher:
    """One task a message. A slot is taken before the task is made, so no more start than can be called at once."""

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
        self._failed: Callable[[BaseException], None] = lambda _: None
        self._loop: asyncio.AbstractEventLoop | None = None
        pool.when_room(self.fill)
        gate.when_open(self.fill)

    def when_failed(self, callback: Callable[[BaseException], None]) -> None:
        """Call this when something breaks that must not: the process has to stop."""
        self._failed = callback

    def fill(self) -> None:
        """Start what is ready, as far as there is room."""
        if self._loop is None:  # looked up once: every look-up costs a system call
            self._loop = asyncio.get_running_loop()
        while self._gate.open and self._pool.room and (message := self._intake.take()) is not None:
            self._gate.take(message)
            slot = self._pool.take(message.record.key)
            assert slot is not None  # noqa: S101 - there was room
            message.task = self._loop.create_task(self._run(message, slot))

    async def _run(self, message: Message, slot: Slot) -> None:
        message.started = True
        if message.given_up:
            self._pool.give_up(slot)
            self._abandon(message)
            return
        try:
            way = self._pipeline if message.marks.shadow_of is None else self._shadows
            outcome: Outcome = await way.process(message, slot)
            if message.assignment.open:
                self._delivery.add(message, outcome)
            else:
                self._abandon(message)
        except (asyncio.CancelledError, AbandonedError):
            self._abandon(message)
        except Exception as error:  # noqa: BLE001 - whatever it is, the process must not go on as if nothing were
            self._abandon(message)
            self._failed(error)

    def _abandon(self, message: Message) -> None:
        self._intake.abandon(message)
        self._gate.leave(message)
