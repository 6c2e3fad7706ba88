"""Overlaps batches without acknowledging early: the next is read and published while the last is being delivered.

Batches are acknowledged in the order they came and only when delivered; after one failure none ever is.
"""

import asyncio
from collections.abc import Callable, Coroutine, Sequence
from typing import Any, NamedTuple

from workers.core.records import Received

BATCHES_IN_FLIGHT = 64
RECORDS_IN_FLIGHT = 4_000


class _Batch(NamedTuple):
    delivered: asyncio.Task[None]
    acknowledge: Callable[[], object]
    size: int


class Pipeline:
    """Holds the batches in flight. `failed` is called once, at the first error, and must stop the process."""

    def __init__(
        self,
        begin: Callable[[Sequence[Received]], Coroutine[Any, Any, None]],
        failed: Callable[[BaseException], None],
    ) -> None:
        self._begin = begin
        self._failed = failed
        self._batches: asyncio.Queue[_Batch] = asyncio.Queue(BATCHES_IN_FLIGHT)
        self._room = asyncio.Event()  # set when something was acknowledged
        self._records = 0
        self._broken = False

    @property
    def in_flight(self) -> int:
        """Records published and not yet acknowledged."""
        return self._records

    async def submit(self, records: Sequence[Received], acknowledge: Callable[[], object]) -> None:
        """Publish a batch; waits while too much is in flight, not for this batch. After a failure it waits for ever."""
        while self._broken or not self._has_room(len(records)):
            self._room.clear()
            await self._room.wait()
        self._records += len(records)
        try:
            delivered = self._begin(records)
        except Exception as error:  # noqa: BLE001 - whatever went wrong, this batch is not delivered
            self._fail(error)
            return
        await self._batches.put(_Batch(asyncio.create_task(delivered), acknowledge, len(records)))

    def _has_room(self, count: int) -> bool:
        return self._records == 0 or self._records + count <= RECORDS_IN_FLIGHT

    async def run(self) -> None:
        """Acknowledge batches as they are delivered, in order, until cancelled or until one fails."""
        while True:
            batch = await self._batches.get()
            try:
                await batch.delivered
            except Exception as error:  # noqa: BLE001 - whatever went wrong, this batch is not delivered
                self._fail(error)
                return
            batch.acknowledge()
            self._records -= batch.size
            self._room.set()

    def _fail(self, error: Exception) -> None:
        if not self._broken:
            self._broken = True
            self._failed(error)
