"""Which offsets of a partition may be committed: those before the first one that is not finished.

Faust 0.15.3 works this out from a list of acknowledged offsets and passes over work in flight (its issue 606); this
replaces it. Work is noted when it is taken, so what is in flight is known, and log gaps need no guessing.
"""

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass

from workers.core.records import Received, TopicPartition


@dataclass(slots=True, eq=False)
class Slice:
    """Consecutive records of one partition: the first offset, and the one after the last."""

    first: int
    next: int
    finished: bool = False


class Ledger:
    """One partition during one assignment, which began where the group had `committed`."""

    def __init__(self, committed: int | None = None) -> None:
        self.committed = committed
        self.committable: int | None = None
        self._pending: deque[Slice] = deque()
        self._end: int | None = None

    def taken(self, piece: Slice) -> None:
        """A slice was read. One that starts before the end of the last means the reader went back: start anew there."""
        if self._end is not None and piece.first < self._end:
            self._pending.clear()
            self.committable = None
        self._end = piece.next
        self._pending.append(piece)

    def finished(self, piece: Slice) -> None:
        """Every record of the slice has reached an outcome."""
        piece.finished = True
        while self._pending and self._pending[0].finished:
            self.committable = self._pending.popleft().next

    @property
    def moved(self) -> bool:
        """Whether there is something to commit."""
        return self.committable is not None and self.committable != self.committed

    @property
    def in_flight(self) -> int:
        """Offsets taken and not yet committable."""
        if not self._pending or self._end is None:
            return 0
        return self._end - self._pending[0].first


def slices_of(records: Sequence[Received]) -> dict[TopicPartition, Slice]:
    """One slice a partition. Records of a partition come in the order of their offsets."""
    slices: dict[TopicPartition, Slice] = {}
    last: Received | None = None
    piece = Slice(0, 0)
    for record in records:  # which come partition by partition: a place is named once a run of them
        if last is None or record.partition != last.partition or record.topic != last.topic:
            place = TopicPartition(record.topic, record.partition)
            piece = slices.get(place) or Slice(record.offset, record.offset)
            slices[place] = piece
        piece.next = record.offset + 1
        last = record
    return slices
