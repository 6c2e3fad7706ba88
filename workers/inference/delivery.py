"""Publishes outcomes, and only when they are delivered calls their messages finished.

What ends within one turn of the event loop goes out together: one wait for many messages.
"""

import asyncio
from collections.abc import Callable, Sequence

import structlog

from workers.core.errors import PermanentError
from workers.core.ports import Publisher
from workers.inference.gate import Gate
from workers.inference.intake import Intake
from workers.inference.message import Message, Outcome
from workers.inference.settle import Settled, Settlement
from workers.inference.tally import Tally

log = structlog.get_logger()

Entry = tuple[Message, Settled]


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

    @property
    def pending(self) -> bool:
        """Whether outcomes wait for Kafka."""
        return bool(self._tasks)

    def when_failed(self, callback: Callable[[BaseException], None]) -> None:
        """Call this when a delivery failed for good: nothing may be committed from then on."""
        self._failed = callback

    def add(self, message: Message, outcome: Outcome) -> None:
        """Publish this outcome soon; the message is finished once it is delivered."""
        if not self._batch:
            asyncio.get_running_loop().call_soon(self._flush)
        self._batch.append((message, self._settlement.settle(message, outcome)))

    def _flush(self) -> None:
        batch, self._batch = self._batch, []
        task = asyncio.get_running_loop().create_task(self._deliver(batch))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _deliver(self, batch: Sequence[Entry]) -> None:
        try:
            try:
                await self._publisher.deliver([record for _, settled in batch for record in settled.records])
            except PermanentError:
                # One record is too large and none was written: find out which, and publish the others.
                batch = [(message, await self._alone(message, settled)) for message, settled in batch]
        except Exception as error:  # noqa: BLE001 - undelivered is unfinished, whatever the cause
            self._broken = True
            self._failed(error)
            return
        if not self._broken:
            self._intake.finish([message for message, _ in batch])
            self._tally.enter(batch)
            self._gate.delivered((message, settled.outcome) for message, settled in batch)

    async def _alone(self, message: Message, settled: Settled) -> Settled:
        """Publish one message's outcome, or what can be published in its place."""
        while True:
            try:
                await self._publisher.deliver(settled.records)
            except PermanentError as refusal:
                instead = self._settlement.refused(message, settled, refusal)
                if instead is None:
                    log.error(  # noqa: TRY400 - the refusal says all there is
                        "outcome_unpublishable", position=message.record.position, reason=refusal.reason
                    )
                    return settled
                settled = instead
            else:
                return settled
