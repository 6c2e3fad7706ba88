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
from workers.core.records import Position, Received, TopicPartition, weight
from workers.router.ledger import Ledger, slices_of
from workers.router.progress import Standing

log = structlog.get_logger()

RECORDS_WAITING = 4_000
BYTES_WAITING = 32 * 1024 * 1024
"""Read and not yet taken by Faust; beyond either nothing more is fetched until a quarter of both is left."""

BATCH_RECORDS = 500
"""What is planned in one go, while nothing else is done."""

COMMIT_SECONDS = 0.05
"""How long what is finished may wait for its commit; what it bounds is how much a killed router repeats."""

REVOKE_SECONDS = 10.0
"""How long a rebalance waits for deliveries under way."""


class Batch:
    """Records that were read together, and the slices of their partitions that end with them."""

    def __init__(self, records: Sequence[Received], ledgers: Mapping[TopicPartition, Ledger]) -> None:
        self.records = records
        self.size = sum(map(weight, records))
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

    def drop(self, partitions: Collection[TopicPartition]) -> None:
        """Forget what is of these partitions."""
        for place in partitions:
            self._slices.pop(place, None)
        self.records = [each for each in self.records if (each.topic, each.partition) in self._slices]
        self.size = sum(map(weight, self.records))


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
        self._records = 0  # in `_waiting`
        self._bytes = 0
        self._full = False
        self._finished = 0  # batches since the last look
        self._under_way: set[Batch] = set()
        self._arrived = asyncio.Event()
        self._ended = asyncio.Event()  # some batch; who waits for it clears it
        self._to_commit = asyncio.Event()
        self._draining = False
        self.joined = False

    async def start(self) -> None:
        """Join the group, unless the drain has begun."""
        if not self._draining:
            await self._subscription.start(self)

    # -- what Faust does -----------------------------------------------------------------------------------------

    async def next(self) -> Batch:
        """The next batch, which is under way from now on. One caller at a time."""
        while not self._waiting:
            self._arrived.clear()
            await self._arrived.wait()
        batch = self._waiting.popleft()
        self._under_way.add(batch)
        self._records -= len(batch.records)
        self._bytes -= batch.size
        self._relieve()
        return batch

    def finished(self, batch: Batch) -> None:
        """All of the batch has reached an outcome. Of an assignment that is over this changes nothing."""
        batch.finish()
        self._under_way.discard(batch)
        self._finished += 1
        self._ended.set()
        self._to_commit.set()

    # -- what the service does -----------------------------------------------------------------------------------

    @property
    def partitions(self) -> Collection[TopicPartition]:
        """Those that are this member's."""
        return self._ledgers.keys()

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
        self._drop(self._ledgers)
        await self._end_of(self._ledgers.keys())
        await self._commit()

    def standings(self, ends: Mapping[TopicPartition, int]) -> dict[TopicPartition, Standing]:
        """How the partitions stand; `ends` has the end of what can be read of each, as the broker says."""
        read = self._subscription.positions()
        waiting = {place for batch in self._waiting for place in batch.partitions}
        moving, self._finished = self._finished > 0, 0
        standings: dict[TopicPartition, Standing] = {}
        for place, ledger in self._ledgers.items():
            if place not in ends:
                continue
            position = ledger.committed
            if not ledger.moved and not ledger.in_flight:
                # What was read since are the marks of transactions.
                position = max(position or 0, read.get(place, 0))
            standings[place] = Standing(position, ends[place], moving and (self._full or place in waiting))
        return standings

    # -- `Listener` ----------------------------------------------------------------------------------------------

    def records(self, batch: Sequence[Received]) -> None:
        """See `Listener`."""
        if self._draining:
            return
        for start in range(0, len(batch), BATCH_RECORDS):
            piece = Batch(batch[start : start + BATCH_RECORDS], self._ledgers)
            self._waiting.append(piece)
            self._records += len(piece.records)
            self._bytes += piece.size
        if not self._full and (self._records >= RECORDS_WAITING or self._bytes >= BYTES_WAITING):
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
        moved = {
            place: (ledger, Position(ledger.committable))
            for place, ledger in self._ledgers.items()
            if ledger.moved and ledger.committable is not None
        }
        if not moved:
            return
        await self._subscription.commit({place: position for place, (_, position) in moved.items()})
        # Of these ledgers, not of these partitions: they may have gone and come again meanwhile.
        for ledger, position in moved.values():
            ledger.committed = position.offset

    async def _end_of(self, partitions: Collection[TopicPartition]) -> None:
        ending = frozenset(partitions)
        while any(not ending.isdisjoint(batch.partitions) for batch in self._under_way):
            self._ended.clear()
            await self._ended.wait()

    def _drop(self, partitions: Collection[TopicPartition]) -> None:
        """Forget what was read of these and not taken yet: their next owner reads it again."""
        gone = frozenset(partitions)
        for batch in self._waiting:
            if not gone.isdisjoint(batch.partitions):
                batch.drop(gone)
        self._waiting = deque(batch for batch in self._waiting if batch.records)
        self._records = sum(len(batch.records) for batch in self._waiting)
        self._bytes = sum(batch.size for batch in self._waiting)
        self._relieve()

    def _relieve(self) -> None:
        if self._full and self._records <= RECORDS_WAITING // 4 and self._bytes <= BYTES_WAITING // 4:
            self._full = False
            self._subscription.resume(list(self._ledgers))

    def _forget(self, partitions: Sequence[TopicPartition]) -> dict[TopicPartition, Ledger]:
        return {place: self._ledgers.pop(place) for place in partitions if place in self._ledgers}
