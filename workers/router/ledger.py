"""Which offsets of a partition may be committed: those before the first one that is not finished.

Faust 0.15.3 works this out from a list of acknowledged offsets and passes over work in flight (its issue 606); this
replaces it. Work is noted when it is taken, so what is in flight is known, and log gaps need no guessing.
"""

from collections import deque
from dataclasses import dataclass


@dataclass(slots=True, eq=False)
class Slice:
    """Consecutive records of one partition: the first offset, and the one after the last."""

    first: int
    next: int
    finished: bool = False


class Ledger:
    """One partition during one assignment. A late end of a slice that was dropped changes nothing."""

    def __init__(self, epoch: int) -> None:
        self.epoch = epoch
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
    def in_flight(self) -> int:
        """Offsets taken and not yet committable."""
        if not self._pending or self._end is None:
            return 0
        return self._end - self._pending[0].first
