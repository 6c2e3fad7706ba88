"""Records that came for a paused partition: kept in order until it is resumed.

Pausing librdkafka throws away what it has prefetched, which then travels again. Under back-pressure partitions pause
and resume many times a second, so a short pause is kept here, and only a partition whose store is full is paused in
the client too.
"""

from collections import deque
from collections.abc import Collection, Mapping, Sequence

from workers.core.records import Received, TopicPartition, weight

MAX_RECORDS = 1000
MAX_BYTES = 4 * 1024 * 1024
CHUNK = 500


class Holding:
    """Paused partitions and what is kept for each. Not thread-safe: it lives on the event loop.

    `full` names the partitions that the client must stop fetching; it is replaced, never changed, so that another
    thread may read it.
    """

    def __init__(self) -> None:
        self.paused: set[TopicPartition] = set()
        self.full: frozenset[TopicPartition] = frozenset()
        self._kept: dict[TopicPartition, deque[tuple[Received, int]]] = {}  # with its weight
        self._bytes: dict[TopicPartition, int] = {}

    def pause(self, partitions: Collection[TopicPartition]) -> None:
        """Keep what comes for these from now on."""
        self.paused.update(partitions)

    def resume(self, partitions: Collection[TopicPartition]) -> bool:
        """Let records of these through again. Says whether `release` has something to deliver."""
        self.paused.difference_update(partitions)
        # One that holds nothing and is full can't exist: nothing else to give back to the client.
        return any(place in self._kept for place in partitions)

    def admit(self, batch: list[Received], ends: Mapping[TopicPartition, int]) -> list[Received]:
        """What of `batch` goes on to the listener; the rest is kept. `ends` names the batch's partitions."""
        if not self.paused and not self._kept:
            return batch
        shut = {place for place in ends if place in self.paused or place in self._kept}
        if not shut:
            return batch
        passing: list[Received] = []
        for record in batch:
            place = TopicPartition(record.topic, record.partition)
            if place in shut:
                self._keep(place, record)
            else:
                passing.append(record)
        self._note_full(shut)
        return passing

    def release(self) -> list[Received]:
        """Up to `CHUNK` kept records of each partition that is not paused, in order."""
        released: list[Received] = []
        for place in [place for place in self._kept if place not in self.paused]:
            kept = self._kept[place]
            for _ in range(min(CHUNK, len(kept))):
                record, size = kept.popleft()
                self._bytes[place] -= size
                released.append(record)
            if not kept:
                self._drop(place)
            self._note_full([place])
        return released

    @property
    def waiting(self) -> bool:
        """Whether `release` would give something."""
        return any(place not in self.paused for place in self._kept)

    @property
    def keeping(self) -> frozenset[TopicPartition]:
        """The partitions that something is kept of."""
        return frozenset(self._kept)

    def forget(self, partitions: Collection[TopicPartition]) -> None:
        """These are not ours any more: what is kept of them is for the next owner to fetch."""
        self.paused.difference_update(partitions)
        for place in partitions:
            self._drop(place)
        self._note_full(partitions)

    def _keep(self, place: TopicPartition, record: Received) -> None:
        size = _weight(record)
        self._kept.setdefault(place, deque()).append((record, size))
        self._bytes[place] = self._bytes.get(place, 0) + size

    def _drop(self, place: TopicPartition) -> None:
        self._kept.pop(place, None)
        self._bytes.pop(place, None)

    def _note_full(self, places: Collection[TopicPartition]) -> None:
        """Full at the limit; no longer full at a quarter of it, so that it does not flutter."""
        full = set(self.full)
        for place in places:
            records, size = len(self._kept.get(place, ())), self._bytes.get(place, 0)
            if records >= MAX_RECORDS or size >= MAX_BYTES:
                full.add(place)
            elif records <= MAX_RECORDS // 4 and size <= MAX_BYTES // 4:
                full.discard(place)
        if full != self.full:
            self.full = frozenset(full)


def _weight(record: Received) -> int:
    return weight(record) + 100


def ends_of(batch: Sequence[Received]) -> dict[TopicPartition, int]:
    """The next offset after this batch, by partition."""
    ends: dict[TopicPartition, int] = {}
    last: Received | None = None
    for record in batch:  # which come partition by partition: a place is named once a run of them
        if last is not None and (record.partition != last.partition or record.topic != last.topic):
            ends[TopicPartition(last.topic, last.partition)] = last.offset + 1
        last = record
    if last is not None:
        ends[TopicPartition(last.topic, last.partition)] = last.offset + 1
    return ends
