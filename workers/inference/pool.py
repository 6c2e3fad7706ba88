"""The instances of a target: which one takes an attempt, and when there is room for more.

The one seam for balancing, breakers and adaptive limits: an attempt takes a slot and gives it back with what became
of it. Nobody else knows how many instances there are.
"""

import asyncio
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from prometheus_client import Counter

from schemas.errors import ErrorClass
from workers.core.errors import MessageError
from workers.core.metrics import ATTEMPTS, CALLS_IN_FLIGHT, Metrics
from workers.core.ports import Backend


@dataclass(frozen=True, slots=True)
class Seat:
    """One instance, how many calls it takes at once, and its share of them among others."""

    backend: Backend
    concurrency: int
    weight: float = 1.0


class Slot:
    """The right to make one call of one instance."""

    __slots__ = ("_counters", "backend", "calls", "concurrency", "gauge", "weight")

    def __init__(self, seat: Seat, target: str, metrics: Metrics) -> None:
        self.backend = seat.backend
        self.concurrency = seat.concurrency
        self.weight = seat.weight
        self.calls = 0
        self.gauge = metrics.gauge(CALLS_IN_FLIGHT, target, seat.backend.name)
        self.gauge.set_function(lambda: self.calls)
        self._counters: dict[str, Counter] = {
            name: metrics.counter(ATTEMPTS, target, seat.backend.name, name) for name in ("ok", *ErrorClass)
        }

    def count(self, failure: MessageError | None) -> None:
        """Enter what became of a call."""
        self._counters["ok" if failure is None else failure.error_class].inc()


class Pool:
    """Least calls in flight first, each instance up to its own concurrency."""

    def __init__(self, target: str, seats: Sequence[Seat], metrics: Metrics) -> None:
        self._slots = [Slot(seat, target, metrics) for seat in seats]
        self._waiters: deque[tuple[asyncio.Future[Slot], str | None]] = deque()
        self._on_room: Callable[[], None] = lambda: None

    @property
    def capacity(self) -> int:
        """How many calls may be under way at once."""
        return sum(slot.concurrency for slot in self._slots)

    @property
    def calls(self) -> int:
        """How many calls are under way."""
        return sum(slot.calls for slot in self._slots)

    @property
    def room(self) -> bool:
        """Whether `take` would give a slot to a new message. Messages that wait for another attempt come first."""
        if self._waiters:
            return False
        for slot in self._slots:  # noqa: SIM110 - asked twice a message: `any` costs five times as much
            if slot.calls < slot.concurrency:
                return True
        return False

    def when_room(self, callback: Callable[[], None]) -> None:
        """Call this whenever a slot has become free and nobody waits for it."""
        self._on_room = callback

    def take(self, key: bytes | None) -> Slot | None:
        """A slot for a call of a message with this key; never None while there is `room`."""
        return self._choose(None)

    def _choose(self, avoid: str | None) -> Slot | None:
        """The least busy slot with room; one of the instance to avoid only where there is no other."""
        best: Slot | None = None
        for slot in self._slots:
            if slot.calls < slot.concurrency and (best is None or _before(slot, best, avoid)):
                best = slot
        if best is not None:
            best.calls += 1
        return best

    async def acquire(self, key: bytes | None, avoid: str | None = None) -> Slot:
        """Wait for a slot, first come first served."""
        slot = self._choose(avoid) if not self._waiters else None
        if slot is not None:
            return slot
        future: asyncio.Future[Slot] = asyncio.get_running_loop().create_future()
        self._waiters.append((future, avoid))
        try:
            return await future
        except asyncio.CancelledError:
            if future.done() and not future.cancelled():
                self._free(future.result())
            raise

    def give_back(self, slot: Slot, failure: MessageError | None, seconds: float) -> None:
        """The call is over: answered in `seconds`, or failed."""
        slot.count(failure)
        self._free(slot)

    def give_up(self, slot: Slot) -> None:
        """The slot was not used, or its call was abandoned: that says nothing about the instance."""
        self._free(slot)

    def _free(self, slot: Slot) -> None:
        slot.calls -= 1
        while self._waiters:
            future, avoid = self._waiters[0]
            if future.done():
                self._waiters.popleft()
                continue
            free = self._choose(avoid)
            if free is None:
                return
            self._waiters.popleft()
            future.set_result(free)
        if self.room:
            self._on_room()

    async def close(self) -> None:
        """Let go of the instances' connections."""
        for slot in self._slots:
            await slot.backend.close()


def _before(slot: Slot, other: Slot, avoid: str | None) -> bool:
    """Whether `slot` is the better choice: not the one to avoid, then the less busy one for its weight."""
    mine = (slot.backend.name == avoid, slot.calls / slot.weight)
    return mine < (other.backend.name == avoid, other.calls / other.weight)
