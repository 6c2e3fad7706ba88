"""Between Kafka and the index: filling it with what is new, and taking records from Kafka again."""

import asyncio
from array import array
from bisect import bisect_left
from collections.abc import AsyncIterator, Callable, Iterable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from pathlib import Path

from dlq_tools.avro_files import NONE, AvroFiles
from dlq_tools.columns import IndexedLetter
from dlq_tools.index import Index
from dlq_tools.index_writer import IndexWriter
from dlq_tools.reading import indexed
from workers.core.errors import UsageError
from workers.core.ports import Admin, Reader
from workers.core.records import Received, TopicPartition

OpenReader = Callable[[Sequence[str], Mapping[TopicPartition, int]], AbstractAsyncContextManager[Reader]]
"""A started reader of these topics, from these offsets."""

Tick = Callable[[int, int], None]
"""Told how many records have been read, of how many."""

_BATCH = 2000  # letters written at once
_WAIT = 0.2  # seconds for one look at Kafka


async def open_index(
    admin: Admin, home: Path, topic: str, ledger: Path | None = None, schemas: AvroFiles = NONE
) -> Index:
    """The index of a topic, as it was left, with the ledger's file beside it.

    Raises `UsageError` where there is no such topic.
    """
    if topic not in await admin.topics([topic]):
        raise UsageError(
            f"there is no topic {topic!r} on this cluster; `relayfleet dlq list` shows those that begin with dlq."
        )
    cluster = await admin.cluster()
    return Index.of(home, cluster.cluster_id, topic, ledger, schemas)


async def fill(index: Index, admin: Admin, open_reader: OpenReader, tick: Tick | None = None) -> int:
    """Read what came since the last time, up to where the topic ends now. Returns how many records were read.

    Interrupted, it goes on from the last transaction that was written.
    """
    with index.alone():
        return await _fill(index, admin, open_reader, tick)


async def _fill(index: Index, admin: Admin, open_reader: OpenReader, tick: Tick | None) -> int:
    bounds = await admin.end_offsets([index.topic])
    identity = (await admin.topic_ids([index.topic])).get(index.topic, "")
    starts = index.begin({place.partition: both for place, both in bounds.items()}, identity)
    ends = {place.partition: end for place, (_, end) in bounds.items()}
    total = sum(max(0, ends[number] - start) for number, start in starts.items())
    if not total:
        return 0
    places = {TopicPartition(index.topic, number): start for number, start in starts.items()}
    async with open_reader([index.topic], places) as reader:
        return await _drain(index, reader, _Progress(starts, ends), tick or (lambda done, of: None))


class _Progress:
    """How far each partition has been read, and how far it is to be."""

    def __init__(self, starts: Mapping[int, int], ends: Mapping[int, int]) -> None:
        self._starts = dict(starts)
        self.next = dict(starts)
        self.ends = dict(ends)

    def wants(self, record: Received) -> bool:
        """Whether the record was there when we began; the place moves past it."""
        self.next[record.partition] = max(self.next.get(record.partition, 0), record.offset + 1)
        return record.offset < self.ends.get(record.partition, 0)

    @property
    def over(self) -> bool:
        """Whether everything has been read."""
        return all(self.next[number] >= end for number, end in self.ends.items())

    @property
    def counts(self) -> tuple[int, int]:
        """Records read, of how many; what a topic leaves out between two offsets counts as read."""
        total = sum(self.ends[number] - start for number, start in self._starts.items())
        return sum(min(self.next[n], self.ends[n]) - self._starts[n] for n in self._starts), total

    def reached(self) -> dict[int, int]:
        """Where reading goes on, no further than the ends."""
        return {number: min(place, self.ends[number]) for number, place in self.next.items()}


async def _drain(index: Index, reader: Reader, progress: _Progress, tick: Tick) -> int:
    read, letters = 0, list[IndexedLetter]()
    with index.writer() as writer:
        async with _Pen(writer) as pen:
            over = False
            while not over:
                records = await reader.read(_WAIT)
                letters.extend(indexed(record, index.schemas) for record in records if progress.wants(record))
                over = progress.over or reader.at_end
                if over or len(letters) >= _BATCH:
                    await pen.write(letters, progress.ends if over else progress.reached())
                    read, letters = read + len(letters), []
                tick(*progress.counts)
    return read


class _Pen:
    """Writes a batch in a thread while the next one is read: DuckDB needs no interpreter for it.

    What was written is kept at the end, be it the topic's, an error's or Ctrl-C's.
    """

    def __init__(self, writer: IndexWriter) -> None:
        self._writer = writer
        self._writing: asyncio.Task[None] | None = None
        self._reached: Mapping[int, int] = {}

    async def __aenter__(self) -> "_Pen":
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._written()
        if self._reached:
            self._writer.commit(self._reached)

    async def write(self, letters: Sequence[IndexedLetter], reached: Mapping[int, int]) -> None:
        """Begin to write; the batch before is written by then."""
        await self._written()
        self._writing = asyncio.create_task(asyncio.to_thread(self._write, letters, reached))

    async def _written(self) -> None:
        if self._writing is not None:
            await self._writing

    def _write(self, letters: Sequence[IndexedLetter], reached: Mapping[int, int]) -> None:
        self._writer.add(letters)
        self._reached = reached
        if self._writer.full:
            self._writer.commit(reached)


async def fetch(admin: Admin, open_reader: OpenReader, place: TopicPartition, offset: int) -> Received:
    """Read one record from Kafka. Raises `UsageError` that says why it isn't there."""
    position = f"{place}:{offset}"
    if place.topic not in await admin.topics([place.topic]):
        raise UsageError(f"there is no topic {place.topic!r} on this cluster: {position} can't be shown")
    bounds = await admin.end_offsets([place.topic])
    if place not in bounds:
        raise UsageError(
            f"{place.topic} has {len(bounds)} partitions, counted from 0: there is no {position}"
        )
    first, end = bounds[place]
    if offset < first:
        raise UsageError(
            f"{position} is gone: it was purged or its retention is over; {place} begins at {first}"
        )
    if offset >= end:
        raise UsageError(f"{position} is not there yet: {place} ends before {end}")
    async for record in fetch_many(admin, open_reader, place.topic, [(place.partition, offset)]):
        return record
    raise UsageError(f"{position} holds no record: it was compacted away, or is a transaction's own")


async def fetch_many(
    admin: Admin, open_reader: OpenReader, topic: str, positions: Iterable[tuple[int, int]]
) -> AsyncIterator[Received]:
    """Read these records (partition, offset) from Kafka, in order within a partition; those that are gone are left out.

    Memory: 8 bytes a position. Reads each partition once, from the first that is wanted to the last.
    """
    wanted: dict[int, array[int]] = {}
    for partition, offset in positions:
        wanted.setdefault(partition, array("q")).append(offset)
    if not wanted:
        return
    bounds = await admin.end_offsets([topic])
    wanted = {number: array("q", sorted(offsets)) for number, offsets in wanted.items()}
    starts = {
        place: wanted[place.partition][0] if place.partition in wanted else end
        for place, (_, end) in bounds.items()
    }
    open_ends = set(wanted)
    async with open_reader([topic], starts) as reader:
        while open_ends:
            for record in await reader.read(_WAIT):
                offsets = wanted.get(record.partition, _NONE)
                if offsets and record.offset >= offsets[-1]:
                    open_ends.discard(record.partition)
                if _holds(offsets, record.offset):
                    yield record
            if reader.at_end:
                return


_NONE: "array[int]" = array("q")


def _holds(offsets: "array[int]", offset: int) -> bool:
    place = bisect_left(offsets, offset)
    return place < len(offsets) and offsets[place] == offset
