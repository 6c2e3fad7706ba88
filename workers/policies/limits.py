"""How many calls at once an instance takes, found out from its latency. Times are seconds of a monotonic clock.

The limit follows the gradient between the latency of an instance that has no queue and the present one: as long as
calls take no longer than at rest it grows by the square root of itself, and where they queue it shrinks in proportion.
What latency at rest is, is measured anew every so often with a lower limit, since a model's answers change in length.
"""

import math
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class LimitPolicy:
    """The bounds and the speed. `tolerance`: how many times the latency at rest is still no queue."""

    initial: int = 16
    smallest: int = 1
    largest: int = 1000
    tolerance: float = 1.1
    smoothing: float = 0.5
    backoff: float = 0.8
    samples: int = 10
    measure_every: int = 50  # windows
    measure_share: float = 0.5  # of the limit, while latency at rest is measured


class AdaptiveLimit:
    """The limit of one instance.

    Latencies are looked at in windows: as many calls as the limit, all begun after the window did, so that each window
    shows what the present limit does.
    """

    def __init__(self, policy: LimitPolicy) -> None:
        self._policy = policy
        self._limit = float(policy.initial)
        self._rest: float | None = None
        self._windows = 0
        self._measuring = True
        self._backed_off_at = -math.inf
        self._since = -math.inf
        self._sum = 0.0
        self._count = 0
        self._peak = 0

    @property
    def limit(self) -> int:
        """Calls that may be under way at once."""
        share = self._policy.measure_share if self._measuring else 1.0
        return max(self._policy.smallest, int(self._limit * share))

    def answered(self, seconds: float, in_flight: int, now: float) -> None:
        """A call was answered after `seconds`; `in_flight` were under way, itself included."""
        if now - seconds < self._since:
            return
        self._sum += seconds
        self._count += 1
        self._peak = max(self._peak, in_flight)
        if self._count >= max(self._policy.samples, self.limit):
            self._judge(self._sum / self._count, now)

    def refused(self, seconds: float, now: float) -> None:
        """A call was refused for lack of room, or timed out, after `seconds`. Once for all calls of the same moment."""
        if now - seconds < self._backed_off_at:
            return
        self._backed_off_at = now
        self._limit = max(self._policy.smallest, self._limit * self._policy.backoff)
        self._begin(now)

    def _judge(self, latency: float, now: float) -> None:
        """The window is full."""
        self._windows += 1
        if self._rest is None or latency < self._rest or self._measuring:
            self._rest = latency
        # Where there was less to do than the limit allows, latency says nothing about the limit.
        if not self._measuring and self._peak >= 0.8 * self.limit:
            self._adjust(latency)
        self._measuring = self._windows % self._policy.measure_every == 0
        self._begin(now)

    def _adjust(self, latency: float) -> None:
        assert self._rest is not None  # noqa: S101 - the caller has set it
        gradient = min(1.0, max(0.5, self._policy.tolerance * self._rest / max(latency, 1e-9)))
        wanted = self._limit * gradient + math.sqrt(self._limit)
        smoothed = self._limit + self._policy.smoothing * (wanted - self._limit)
        self._limit = min(self._policy.largest, max(self._policy.smallest, smoothed))

    def _begin(self, now: float) -> None:
        self._since = now
        self._sum = 0.0
        self._count = 0
        self._peak = 0
