"""Reads what comes for this gateway: wakes who waits, keeps the answers, and only then commits.

Each gateway reads the partitions of `model_responses` and `model_chunks` that its group gives it. What a request of
some gateway got is kept in the store whoever reads it, so that an answer whose partition moved is found all the same.
"""

import asyncio
from collections.abc import Coroutine, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import structlog

from schemas import headers as h
from schemas.codec import decode_chunk
from schemas.errors import DecodeError
from workers.core.deadlines import Deadline
from workers.core.errors import UnreachableError
from workers.core.metrics import GATEWAY_ANSWERS, Metrics
from workers.core.ports import Admin, AnswerStore, Subscription
from workers.core.records import Position, Received, TopicPartition
from workers.gateway.keeping import Keeping
from workers.gateway.pending import Registry, Reply, key_of

log = structlog.get_logger()

_MOST_UNSTORED = 64_000_000  # bytes; with the store away, no more is read than this
_COMMIT_EVERY = 0.2
_LONGEST_PAUSE = 2.0
_REVOKE_SECONDS = 5.0
_LOOK_SECONDS = 0.02


@dataclass(frozen=True, slots=True)
class Topics:
    """Where answers and their pieces come."""

    responses: str
    chunks: str


class Replies:
    """The listener of a gateway's subscription."""

    def __init__(
        self,
        topics: Topics,
        subscription: Subscription,
        admin: Admin,
        store: AnswerStore,
        registry: Registry,
        metrics: Metrics,
    ) -> None:
        self._topics = topics
        self._subscription = subscription
        self._admin = admin
        self._registry = registry
        self._matched = metrics.counter(GATEWAY_ANSWERS, "waited_for")
        self._unmatched = metrics.counter(GATEWAY_ANSWERS, "kept")
        self._owned: dict[TopicPartition, Position | None] = {}
        self._ready: set[TopicPartition] = set()  # where a record that comes now will be read
        self._responses: list[int] = []  # their numbers
        self._chunks: list[int] = []
        self._keeping = Keeping(store, self._passed, self._all_kept)
        self._paused = False
        self._positions: dict[TopicPartition, Position] = {}  # up to which everything is kept
        self._committed: dict[TopicPartition, Position] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._turn = 0
        self.failure: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    async def start(self) -> None:
        """Join the group."""
        await self._subscription.start(self)
        self._spawn(self._commit_now_and_then())

    def place(self) -> tuple[int, int] | None:
        """Partitions of responses and chunks where an answer will be read; None where there are none (yet).

        Nor are there any while what was read can't be kept: nothing more is read until then.
        """
        responses, chunks = self._responses, self._chunks
        if self._paused or not responses or not chunks:
            return None
        self._turn += 1
        number = responses[self._turn % len(responses)]
        return number, number if number in chunks else chunks[self._turn % len(chunks)]

    @property
    def in_service(self) -> bool:
        """Whether there are such partitions. Callable from any thread."""
        topics = {place.topic for place in self._ready}
        return len(topics) > 1 and not self._paused

    def owns(self, responses: int) -> bool:
        """Whether this partition of the responses is read here."""
        return TopicPartition(self._topics.responses, responses) in self._owned

    async def close(self, deadline: Deadline) -> None:
        """Keep and commit what was read, then leave the group."""
        for task in self._tasks:
            task.cancel()
        await self._keeping.settle(deadline)
        await self._commit()
        await self._subscription.close(deadline)

    # -- the listener --------------------------------------------------------------------------------------------

    def records(self, batch: Sequence[Received]) -> None:
        """See `Listener`."""
        ends: dict[tuple[str, int], int] = {}
        waited_for = kept = 0
        for record in batch:
            ends[record.topic, record.partition] = record.offset + 1
            if record.topic != self._topics.responses:
                self._chunk(record)
            elif (key := _key_of_reply(record)) is not None:
                if self._answer(key, record.value or b""):
                    waited_for += 1
                else:
                    kept += 1
        self._matched.inc(waited_for)
        self._unmatched.inc(kept)
        self._keeping.mark({TopicPartition(*place): Position(end) for place, end in ends.items()})
        if begun := self._keeping.begin():
            begun.add_done_callback(self._ended)
        if self._keeping.backlog_bytes > _MOST_UNSTORED and not self._paused:
            self._paused = True
            self._subscription.pause(list(self._owned))

    def assigned(self, partitions: Mapping[TopicPartition, Position | None]) -> None:
        """See `Listener`."""
        self._owned.update(partitions)
        known = {place for place, position in partitions.items() if position is not None}
        self._use(self._ready | known)
        fresh = [place for place, position in partitions.items() if position is None]
        if fresh:
            self._spawn(self._begin(fresh))
        if self._paused:
            self._subscription.pause(list(partitions))

    async def revoked(self, partitions: Sequence[TopicPartition]) -> Mapping[TopicPartition, Position]:
        """See `Listener`."""
        self._use(self._ready - set(partitions))
        await self._keeping.settle(Deadline.after(_REVOKE_SECONDS))
        positions = {place: self._positions[place] for place in partitions if place in self._positions}
        self._forget(partitions)
        return positions

    def lost(self, partitions: Sequence[TopicPartition]) -> None:
        """See `Listener`."""
        self._forget(partitions)

    def failed(self, error: BaseException) -> None:
        """See `Listener`."""
        if not self.failure.done():
            self.failure.set_exception(error)

    # -- what comes ----------------------------------------------------------------------------------------------

    def _answer(self, key: str, value: bytes) -> bool:
        """An answer has come. Whether somebody waited for it."""
        waiting = self._registry.waiting(key)
        for pending in waiting:
            pending.answered(Reply(value), here=True)
        self._keeping.add(key, value)
        return bool(waiting)

    def _chunk(self, record: Received) -> None:
        key = _key(dict(record.headers))
        waiting = self._registry.waiting(key) if key is not None else []
        if not waiting:
            return
        try:
            chunk = decode_chunk(record.value, record.headers)
        except DecodeError as error:
            log.warning("chunk_unreadable", position=record.position, error=str(error))
            return
        for pending in waiting:
            pending.chunk(chunk)

    # -- keeping and committing ----------------------------------------------------------------------------------

    async def _begin(self, fresh: Sequence[TopicPartition]) -> None:
        """Nobody has committed these yet. What is committed first is where they end now, before any use of them.

        Only when the client itself knows where it reads may a request name them: it starts at the end, wherever
        that is when it asks.
        """
        while True:
            try:
                ends = await self._admin.end_offsets(sorted({place.topic for place in fresh}))
                ours = [place for place in fresh if place in self._owned]
                await self._subscription.commit({place: Position(ends[place][1]) for place in ours})
                break
            except UnreachableError as error:
                log.warning("gateway_positions_unknown", error=str(error))
                await asyncio.sleep(_LONGEST_PAUSE)
        while left := [place for place in fresh if place in self._owned and place not in self._ready]:
            known = await self._subscription.lag()
            self._use(self._ready | {place for place in left if place in known})
            await asyncio.sleep(_LOOK_SECONDS)

    def _passed(self, ends: Mapping[TopicPartition, Position]) -> None:
        """Everything up to here is kept."""
        for place, position in ends.items():
            if place in self._owned:
                self._positions[place] = position

    def _all_kept(self) -> None:
        if self._paused:
            self._paused = False
            self._subscription.resume(list(self._owned))

    async def _commit_now_and_then(self) -> None:
        while True:
            await asyncio.sleep(_COMMIT_EVERY)
            await self._commit()

    async def _commit(self) -> None:
        moved = {
            place: position
            for place, position in self._positions.items()
            if self._committed.get(place) != position
        }
        if not moved:
            return
        try:
            await self._subscription.commit(moved)
        except UnreachableError as error:
            log.warning("gateway_commit_failed", error=str(error))
        else:
            self._committed |= moved

    def _forget(self, partitions: Sequence[TopicPartition]) -> None:
        for place in partitions:
            self._owned.pop(place, None)
            self._positions.pop(place, None)
            self._committed.pop(place, None)
        self._use(self._ready - set(partitions))

    def _use(self, ready: set[TopicPartition]) -> None:
        """Requests may name these from now on, and no others."""
        self._ready = ready
        self._responses = sorted(place.partition for place in ready if place.topic == self._topics.responses)
        self._chunks = sorted(place.partition for place in ready if place.topic == self._topics.chunks)

    def _spawn(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._ended)

    def _ended(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            self.failed(error)


def _key_of_reply(record: Received) -> str | None:
    """None for what no gateway asked for, which is somebody else's: a gateway asks in JSON, and is answered so."""
    headers = dict(record.headers)
    if record.value is None or record.value[:1] != b"{" or h.REPLY_PARTITION not in headers:
        return None
    return _key(headers)


def _key(headers: Mapping[str, bytes | None]) -> str | None:
    message_id, tenant = headers.get(h.MESSAGE_ID), headers.get(h.TENANT)
    if message_id is None:
        return None
    return key_of(
        None if tenant is None else tenant.decode("utf-8", "replace"), message_id.decode("utf-8", "replace")
    )
