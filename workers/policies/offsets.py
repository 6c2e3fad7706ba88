"""Which offset may be committed, while the messages behind it finish in any order.

Kept in consumed offsets, never computed by adding one: transactions and compaction leave gaps in a log.
"""

from bisect import bisect_left
from collections import deque
from collections.abc import Collection

from workers.core.records import Position
from workers.policies.finished import encode


class OffsetTracker:
    """One partition during one assignment. `finished` are offsets that the last commit's metadata named as done."""

    def __init__(self, finished: Collection[int] = ()) -> None:
        self._log: deque[int] = deque()  # consumed from the oldest unfinished on, ascending
        self._open: set[int] = set()  # consumed and not finished
        self._ahead = set(finished)  # finished before this assignment, not consumed again yet
        self._last = -1

    def start(self, offset: int) -> bool:
        """Note a consumed record. False: it is finished, or in flight, already; leave it alone."""
        if offset <= self._last:
            return self._again(offset)
        self._last = offset
        self._log.append(offset)
        if offset in self._ahead:
            self._ahead.discard(offset)
            return False
        self._open.add(offset)
        return True

    def _again(self, offset: int) -> bool:
        """An offset that the log went back to: harmless where it is in the window, else a record to do."""
        index = bisect_left(self._log, offset)
        if index < len(self._log) and self._log[index] == offset:
            return False
        self._log.insert(index, offset)
        self._open.add(offset)
        return True

    def finish(self, offset: int) -> None:
        """Note that a record is finished: nothing of it is left to do, whatever happens to us. Idempotent."""
        self._open.discard(offset)

    def position(self) -> Position | None:
        """What is safe to commit: all consumed records below it are finished. None: nothing was consumed."""
        if self._last < 0:
            return None
        log, unfinished = self._log, self._open
        while log and log[0] not in unfinished:
            log.popleft()
        if not log:
            return Position(self._last + 1, encode(self._last + 1, self._ahead_of(self._last)))
        beyond = [offset for offset in log if offset not in unfinished]
        return Position(log[0], encode(log[0], beyond + self._ahead_of(self._last)))

    def _ahead_of(self, offset: int) -> list[int]:
        return sorted(known for known in self._ahead if known > offset) if self._ahead else []

    @property
    def in_flight(self) -> int:
        """How many records are consumed and not finished."""
        return len(self._open)

    @property
    def span(self) -> int:
        """How many records lie between the last position and the last one consumed: what has to be remembered."""
        return len(self._log)
