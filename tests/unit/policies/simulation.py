"""Instances that serve calls in simulated time, to see what balancing and limits do in the long run."""

import heapq
import itertools
from collections.abc import Callable
from dataclasses import dataclass


@dataclass
class Server:
    """Serves `parallel` calls at once, each in `seconds()`; the others queue."""

    seconds: Callable[[], float]
    parallel: int = 10**9
    busy: int = 0

    def latency(self) -> float:
        """Seconds that a call takes that comes now, with those under way sharing the server."""
        return self.seconds() * max(1.0, self.busy / self.parallel)


class Timeline:
    """What happens when."""

    def __init__(self) -> None:
        self.now = 0.0
        self._order = itertools.count()
        self._events: list[tuple[float, int, Callable[[], None]]] = []

    def at(self, when: float, action: Callable[[], None]) -> None:
        """Do `action` then."""
        heapq.heappush(self._events, (when, next(self._order), action))

    def run(self, until: float) -> None:
        """Let time pass."""
        while self._events and self._events[0][0] <= until:
            self.now, _, action = heapq.heappop(self._events)
            action()
        self.now = until
