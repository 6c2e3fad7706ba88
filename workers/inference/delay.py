"""Records of delay topics wait here until they are due.

All records of one delay topic wait equally long, so the first of a partition is always the next one due: the
partition is paused until then, and no longer.
"""

import asyncio
from collections.abc import Callable, Iterable, Mapping

from schemas import headers as h
from workers.core.clock import Clock
from workers.inference.message import Assignment, Hold, Message
from workers.inference.throttle import Throttle


class DelayGate:
    """Holds back what is not due. `delays` maps the delay topics to their delay in seconds."""

    def __init__(self, delays: Mapping[str, float], throttle: Throttle, clock: Clock) -> None:
        self._delays = delays
        self._throttle = throttle
        self._clock = clock
        self._due: Callable[[Iterable[Message]], None] = lambda _: None

    def when_due(self, callback: Callable[[Iterable[Message]], None]) -> None:
        """Call this with the messages that have become due."""
        self._due = callback

    def holds(self, message: Message) -> bool:
        """Whether the message is not due; then it is kept until it is."""
        delay = self._delays.get(message.record.topic)
        if delay is None:
            return False
        assignment = message.assignment
        wait = self._wait(message, delay)
        if wait <= 0 and not assignment.held:
            return False
        assignment.held.append((self._clock.monotonic() + wait, message))
        if assignment.timer is None:
            self._throttle.hold(assignment, Hold.DELAY)
            self._arm(assignment)
        return True

    def forget(self, assignment: Assignment) -> None:
        """Drop what is held for an assignment that ends."""
        assignment.held.clear()
        if assignment.timer is not None:
            assignment.timer.cancel()
            assignment.timer = None

    def _wait(self, message: Message, delay: float) -> float:
        """Seconds until it is due; never more than the topic's delay, whatever a wall clock that jumped says."""
        not_before = h.get_int(message.record.headers, h.NOT_BEFORE)
        if not_before is None:
            return 0.0
        return min(delay, not_before / 1000 - self._clock.wall())

    def _arm(self, assignment: Assignment) -> None:
        wait = max(0.0, assignment.held[0][0] - self._clock.monotonic())
        assignment.timer = asyncio.get_running_loop().call_later(wait, self._fire, assignment)

    def _fire(self, assignment: Assignment) -> None:
        assignment.timer = None
        now = self._clock.monotonic()
        due = []
        while assignment.held and assignment.held[0][0] <= now:
            due.append(assignment.held.popleft()[1])
        if assignment.held:
            self._arm(assignment)
        else:
            self._throttle.release(assignment, Hold.DELAY)
        self._due(due)
