"""Publishes outcomes, and only when they are delivered calls their messages finished.

What ends within one turn of the event loop goes out together: one wait for many messages.
"""

import asyncio
from collections.abc import Callable, Coroutine, Sequence
from functools import partial
from typing import Any

from workers.core.errors import PermanentError
from workers.core.ports import Publisher
from workers.inference.alone import Entry, one_by_one
from workers.inference.gate import Gate
from workers.inference.intake import Intake
from workers.inference.message import Message, Outcome
from workers.inference.settle import Settlement
from workers.inference.tally import Tally
from workers.inference.waiting import told


class Delivery:
    """Delivers the outcomes of one target."""

    def __init__(
        self, publisher: Publisher, settlement: Settlement, intake: Intake, tally: Tally, gate: Gate
    ) -> None:
        self._gate = gate
        self._publisher = publisher
        self._settlement = settlement
        self._intake = intake
        self._tally = tally
        self._batch: list[Entry] = []
        self._tasks: set[asyncio.Task[None]] = set()
        self._failed: Callable[[BaseException], None] = lambda _: None
        self._broken = False
        self._loop: asyncio.AbstractEventLoop | None = None

    @property
    def pending(self) -> bool:
        """Whether outcomes wait for Kafka."""
        return bool(self._tasks)

    def when_failed(self, callback: Callable[[BaseException], None]) -> None:
        """Call this when a delivery failed for good: nothing may be committed from then on."""
        self._failed = callback

    def add(self, message: Message, outcome: Outcome) -> None:
        """Publish this outcome soon; the message is finished once it is delivered."""
        if self._loop is None:  # looked up once: every look-up costs a system call
            self._loop = asyncio.get_running_loop()
        if not self._batch:
            self._loop.call_soon(self._flush)
        self._batch.append((message, self._settlement.settle(message, outcome)))

    def _flush(self) -> None:
        batch, self._batch = self._batch, []
        records = [record for _, settled in batch for record in settled.records]
        try:
            delivery = self._publisher.deliver(records)
        except Exception as error:  # noqa: BLE001 - in a callback of the loop nobody else would hear of it
            self._broke(error)
        else:
            self._wait(told(delivery, partial(self._over, batch), self._broke))

    def _over(self, batch: Sequence[Entry], error: Exception | None) -> None:
        if error is None:
            self._delivered(batch)
        elif isinstance(error, PermanentError):
            # One record is too large and none was written: find out which, and publish the others.
            alone = one_by_one(self._publisher, self._settlement, batch)
            self._wait(told(alone, self._over_alone, self._broke))
        else:
            self._broke(error)

    def _over_alone(self, result: Sequence[Entry] | Exception) -> None:
        if isinstance(result, Exception):
            self._broke(result)
        else:
            self._delivered(result)

    def _delivered(self, batch: Sequence[Entry]) -> None:
        if self._broken:
            return
        self._intake.finish([message for message, _ in batch])
        self._tally.enter(batch)
        self._gate.delivered([(message, settled.outcome) for message, settled in batch])

    def _broke(self, error: Exception) -> None:
        """Undelivered is unfinished, whatever the cause."""
        self._broken = True
        self._failed(error)

    def _wait(self, waiting: Coroutine[Any, Any, None]) -> None:
        assert self._loop is not None  # noqa: S101 - nothing is waited for before it is looked up
        task = self._loop.create_task(waiting)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
