"""Counts over the last so many seconds, in slices, so that neither time nor memory grows with the rate."""

from collections import deque
from dataclasses import dataclass

SLICES = 10


@dataclass(slots=True)
class _Slice:
    number: int
    total: int = 0
    bad: int = 0
    slow: int = 0


class SlidingWindow:
    """How many events there were, how many of them bad, how many slow. Times are seconds of a monotonic clock.

    An event counts for at least nine tenths of `seconds` and never for longer.
    """

    def __init__(self, seconds: float) -> None:
        self._width = seconds / SLICES
        self._slices: deque[_Slice] = deque()
        self._last = _Slice(0)  # the one that events are entered in
        self._until = 0.0  # when it ends
        self.clear()

    def clear(self) -> None:
        """Forget everything."""
        self._slices.clear()
        self._until = 0.0
        self.total = self.bad = self.slow = 0

    def add(self, now: float, *, bad: bool = False, slow: bool = False) -> None:
        """Enter an event."""
        if now >= self._until:
            self._next(now)
        last = self._last
        last.total += 1
        self.total += 1
        if bad:
            last.bad += 1
            self.bad += 1
        if slow:
            last.slow += 1
            self.slow += 1

    def _next(self, now: float) -> None:
        """Begin another slice."""
        self.advance(now)
        number = int(now // self._width)
        self._last = _Slice(number)
        self._slices.append(self._last)
        self._until = (number + 1) * self._width

    def advance(self, now: float) -> None:
        """Drop what is too old. Call it before reading the counts."""
        oldest = int(now // self._width) - SLICES
        while self._slices and self._slices[0].number <= oldest:
            gone = self._slices.popleft()
            self.total -= gone.total
            self.bad -= gone.bad
            self.slow -= gone.slow
