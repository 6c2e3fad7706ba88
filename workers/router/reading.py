"""The router's place in its group: what was read waits here until Faust takes it, and offsets are kept in ledgers.

Only the contiguous finished prefix of a partition is ever committed.
"""

import asyncio
from collections import deque
from collections.abc import Callable, Collection, Mapping, Sequence
from contextlib import suppress

import structlog

from workers.core.errors import UnreachableError
from workers.core.ports import Subscription
from workers.core.records import Position, Received, TopicPartition
from workers.router.ledger import Ledger, slices_of
from workers.router.progress import Standing

log = structlog.get_logger()

RECORDS_WAITING = 4_000
"""Read and not yet taken by Faust; beyond this nothing more is fetched until a quarter of it is left."""

COMMIT_SECONDS = 0.05
"""How long what is finished may wait for its commit; what it bounds is how much a killed router repeats."""

REVOKE_SECONDS = 10.0
"""How long a rebalance waits for deliveries under way."""


class Batch:
    """Records that were read together, and the slices of their partitions that end with them."""

    def __init__(self, records: Sequence[Received], ledgers: Mapping[TopicPartition, Ledger]) -> None:
        self.records = records
        self._slices = {place: (ledgers[place], piece) for place, piece in slices_of(records).items()}
        for ledger, piece in self._slices.values():
            ledger.taken(piece)

    @property
    def partitions(self) -> Collection[TopicPartition]:
        """Where the records are from."""
        return self._slices.keys()

    def finish(self) -> None:
        """Every record has reached an outcome."""
        for ledger, piece in self._slices.values():
            ledger.finished(piece)

    def without(self, partitions: Collection[TopicPartition]) -> bool:
        """Drop what is of these partitions. Says whether something is left."""
        for place in partitions:
            self._slices.pop(place, None)
        self.records = [record for record in self.records if (record.topic, record.partition) in self._slices]
        return bool(self.records)


class Reading:
    """The router's `Listener`. All of it belongs to the event loop."""

    def __init__(
        self,
        subscription: Subscription,
        failed: Callable[[BaseException], None],
        revoke_seconds: float = REVOKE_SECONDS,
    ) -> None:
        """`failed` is told when nothing can be read or committed any more, and must stop the process."""
        self._subscription = subscription
        self._failed = failed
        self._revoke_seconds = revoke_seconds
        self._ledgers: dict[TopicPartition, Ledger] = {}
        self._waiting: deque[Batch] = deque()
        self._backlog = 0  # records in `_waiting`
        self._full = False
        self._under_way: set[Batch] = set()
        self._arrived = asyncio.Event()
        self._ended = asyncio.Event()  # some batch; who waits for it clears it
        self._to_commit = asyncio.Event()
        self._draining = False
        self.joined = False

    async def start(self) -> None:
        """Join the group."""
        await self._subscription.start(self)

    # -- what Faust does -----------------------------------------------------------------------------------------

    async def next(self) -> Batch:
        """The next batch, which is under way from now on. One caller at a time."""
        while not self._waiting:
            self._arrived.clear()
            await self._arrived.wait()
        batch = self._waiting.popleft()
        self._under_way.add(batch)
        self._backlog -= len(batch.records)
        self._relieve()
        return batch

    def finished(self, batch: Batch) -> None:
        """All of the batch has reached an outcome. Of an assignment that is over this changes nothing."""
        batch.finish()
        self._under_way.discard(batch)
        self._ended.set()
        self._to_commit.set()

    # -- what the service does -----------------------------------------------------------------------------------

    @property
    def partitions(self) -> int:
        """How many are this member's."""
        return len(self._ledgers)

    async def keep_committing(self) -> None:
        """Commit what is finished, until cancelled."""
        while True:
            await self._to_commit.wait()
            self._to_commit.clear()
            try:
                await self._commit()
            except UnreachableError as error:
                log.warning("commit_failed", error=str(error), so="is tried again")
                self._to_commit.set()
            await asyncio.sleep(COMMIT_SECONDS)

    async def drain(self) -> None:
        """Take nothing more, wait for what is under way, and commit. Raises `UnreachableError` where that fails."""
        self._draining = True
        self._subscription.pause(list(self._ledgers))
        self._waiting.clear()
        await self._end_of(self._ledgers.keys())
        await self._commit()

    def standings(self, ends: Mapping[TopicPartition, tuple[int, int]]) -> dict[TopicPartition, Standing]:
        """How the partitions stand; `ends` has the first and the next offset of each, as the broker says."""
        read = self._subscription.positions()
        standings: dict[TopicPartition, Standing] = {}
        for place, ledger in self._ledgers.items():
            if place in ends:
                beginning, end = ends[place]
                # What is left between the last record and the end are the marks of transactions.
                at_end = not ledger.in_flight and read.get(place) == end
                standings[place] = Standing(end if at_end else ledger.position, beginning, end)
        return standings

    # -- `Listener` ----------------------------------------------------------------------------------------------

    def records(self, batch: Sequence[Received]) -> None:
        """See `Listener`."""
        if self._draining:
            return
        self._waiting.append(Batch(batch, self._ledgers))
        self._backlog += len(batch)
        if not self._full and self._backlog >= RECORDS_WAITING:
            self._full = True
            self._subscription.pause(list(self._ledgers))
        self._arrived.set()

    def assigned(self, partitions: Mapping[TopicPartition, Position | None]) -> None:
        """See `Listener`."""
        self.joined = True
        for place, position in partitions.items():
            self._ledgers[place] = Ledger(None if position is None else position.offset)
        if self._full or self._draining:
            self._subscription.pause(list(partitions))

    async def revoked(self, partitions: Sequence[TopicPartition]) -> Mapping[TopicPartition, Position]:
        """See `Listener`."""
        self._drop(partitions)
        with suppress(TimeoutError):
            async with asyncio.timeout(self._revoke_seconds):
                await self._end_of(partitions)
        return {
            place: Position(ledger.committable)
            for place, ledger in self._forget(partitions).items()
            if ledger.committable is not None
        }

    def lost(self, partitions: Sequence[TopicPartition]) -> None:
        """See `Listener`."""
        self._drop(partitions)
        self._forget(partitions)

    def failed(self, error: BaseException) -> None:
        """See `Listener`."""
        self._failed(error)

    # ------------------------------------------------------------------------------------------------------------

    async def _commit(self) -> None:
        moved = {place: ledger for place, ledger in self._ledgers.items() if ledger.moved}
        offsets = {ledger: ledger.committable for ledger in moved.values()}
        if not moved:
            return
        await self._subscription.commit(
            {place: Position(ledger.committable or 0) for place, ledger in moved.items()}
        )
        # Of these ledgers, not of these partitions: they may have gone and come again meanwhile.
        for ledger, offset in offsets.items():
            ledger.committed = offset

    async def _end_of(self, partitions: Collection[TopicPartition]) -> None:
        ending = frozenset(partitions)
        while any(not ending.isdisjoint(batch.partitions) for batch in self._under_way):
            self._ended.clear()
            await self._ended.wait()

    def _drop(self, partitions: Collection[TopicPartition]) -> None:
        """Forget what was read of these and not taken yet: their next owner reads it again."""
        self._waiting = deque(batch for batch in self._waiting if batch.without(partitions))
        self._backlog = sum(len(batch.records) for batch in self._waiting)
        self._relieve()

    def _relieve(self) -> None:
        if self._full and self._backlog <= RECORDS_WAITING // 4:
            self._full = False
            self._subscription.resume(list(self._ledgers))

    def _forget(self, partitions: Sequence[TopicPartition]) -> dict[TopicPartition, Ledger]:
        return {place: self._ledgers.pop(place) for place in partitions if place in self._ledgers}
