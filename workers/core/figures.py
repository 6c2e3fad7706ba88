"""Figures that are counted with every message: adding to one takes no lock and looks through no buckets.

Each belongs to the thread that counts. `core.metrics` shows them to whoever scrapes, which may see a message in one
figure and not yet in the next.
"""

from bisect import bisect_left
from collections.abc import Sequence


class Count:
    """How often something happened."""

    __slots__ = ("total",)

    def __init__(self) -> None:
        self.total = 0

    def add(self, times: int = 1) -> None:
        """It happened again, so many times."""
        self.total += times


class Durations:
    """How long something took, by buckets: a duration is in the first whose bound it does not exceed."""

    __slots__ = ("_bounds", "counts", "seconds")

    def __init__(self, bounds: Sequence[float]) -> None:
        self._bounds = bounds
        self.counts = [0] * (len(bounds) + 1)  # the last: above every bound
        self.seconds = 0.0  # of all together

    def observe(self, seconds: float) -> None:
        """It took so long."""
        self.counts[bisect_left(self._bounds, seconds)] += 1
        self.seconds += seconds
