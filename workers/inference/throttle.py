"""Back-pressure: which partitions are paused, and why."""

from collections.abc import Iterable
from dataclasses import dataclass

from workers.core.ports import Subscription
from workers.inference.message import Assignment, Hold


@dataclass(frozen=True, slots=True)
class Limits:
    """How much is held at once. A partition is paused at a limit and resumed at half of it, so that it is seldom."""

    window: int = 1000  # unfinished records of one partition
    span: int = (
        16_000  # consumed records behind the oldest unfinished: what a commit's metadata can always tell
    )
    memory: int = 64 * 1024 * 1024  # bytes of the records of all partitions


class Throttle:
    """Pauses and resumes partitions. One is fetched from only when no reason is left to hold it."""

    def __init__(self, subscription: Subscription, limits: Limits) -> None:
        self._subscription = subscription
        self._limits = limits
        self._memory_held = False

    def hold(self, assignment: Assignment, why: Hold) -> None:
        """Pause, for this reason."""
        if not assignment.holds:
            self._subscription.pause([assignment.partition])
        assignment.holds.add(why)

    def release(self, assignment: Assignment, why: Hold) -> None:
        """This reason is gone."""
        if why in assignment.holds:
            assignment.holds.discard(why)
            if not assignment.holds:
                self._subscription.resume([assignment.partition])

    def check(self, touched: Iterable[Assignment], everything: Iterable[Assignment]) -> None:
        """More has come into `touched`: hold what is too full."""
        for assignment in touched:
            tracker = assignment.tracker
            if tracker.in_flight >= self._limits.window or tracker.span >= self._limits.span:
                self.hold(assignment, Hold.WINDOW)
        if self._memory_held or self._bytes(everything) >= self._limits.memory:
            self._memory_held = True
            for assignment in everything:
                self.hold(assignment, Hold.MEMORY)

    def relieve(self, touched: Iterable[Assignment], everything: Iterable[Assignment]) -> None:
        """Less is left in `touched`: let go of what has room again."""
        for assignment in touched:
            if Hold.WINDOW in assignment.holds and self._has_room(assignment):
                self.release(assignment, Hold.WINDOW)
        if self._memory_held and self._bytes(everything) <= self._limits.memory // 2:
            self._memory_held = False
            for assignment in everything:
                self.release(assignment, Hold.MEMORY)

    def _has_room(self, assignment: Assignment) -> bool:
        tracker = assignment.tracker
        return tracker.in_flight <= self._limits.window // 2 and tracker.span <= self._limits.span // 2

    @staticmethod
    def _bytes(everything: Iterable[Assignment]) -> int:
        return sum(assignment.bytes_held for assignment in everything)
