"""When a target stops consuming, because too much of what it takes becomes dead letters.

One poison message is the message's fault; most of them are ours: a wrong key, a bad deployment, a missing column. Then
the rest is better off in Kafka. Times are seconds of a monotonic clock.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import IntEnum
from types import MappingProxyType

from workers.policies.window import SlidingWindow


class Flow(IntEnum):
    """Where a valve stands. The numbers are those of the metric."""

    FLOWING = 0  # messages are taken
    PROBING = 1  # a few messages are taken, to see what becomes of them
    STOPPED = 2  # none is taken


MOVES: Mapping[Flow, frozenset[Flow]] = MappingProxyType(
    {
        Flow.FLOWING: frozenset({Flow.STOPPED}),
        Flow.STOPPED: frozenset({Flow.PROBING, Flow.FLOWING}),
        Flow.PROBING: frozenset({Flow.FLOWING, Flow.STOPPED}),
    }
)
"""The moves there are; from `STOPPED` to `FLOWING` by command only."""


@dataclass(frozen=True, slots=True)
class ValvePolicy:
    """When to stop: at a `ratio` of dead letters among at least `min_messages` outcomes within `window`, or at `run`
    of them in a row (None: at no run). After `stop_for`, `probes` messages are taken, and all of them must do well.
    """

    ratio: float = 0.5
    window: float = 60.0
    min_messages: int = 100
    run: int | None = None
    stop_for: float = 30.0
    probes: int = 3


@dataclass(frozen=True, slots=True)
class Change:
    """A move, for the log and the metrics. `reason` holds numbers only."""

    before: Flow
    after: Flow
    reason: str


class Valve:
    """The state of one target in one worker. A message takes a ticket when it is taken, as calls do with a breaker."""

    def __init__(self, policy: ValvePolicy) -> None:
        self._policy = policy
        self._window = SlidingWindow(policy.window)
        self.flow = Flow.FLOWING
        self.retry_at = 0.0
        self._ticket = 0
        self._taken = 0
        self._passed = 0
        self._run = 0

    def admits(self, now: float) -> bool:
        """Whether a message may be taken."""
        match self.flow:
            case Flow.FLOWING:
                return True
            case Flow.STOPPED:
                return now >= self.retry_at
            case Flow.PROBING:
                return self._taken < self._policy.probes

    def take(self) -> tuple[int, Change | None]:
        """A message is taken, which `admits` has granted. Gives its ticket, and the move where it is the first probe."""
        change = None
        if self.flow is Flow.STOPPED:
            change = self._move(
                Flow.PROBING, f"{self._policy.stop_for:g} s are over: trying {self._policy.probes}"
            )
        if self.flow is Flow.PROBING:
            self._taken += 1
        return self._ticket, change

    def abandon(self, ticket: int) -> None:
        """The message has no outcome: it went to a delay topic, or to another worker."""
        if ticket == self._ticket and self.flow is Flow.PROBING:
            self._taken -= 1

    def settled(self, ticket: int, *, dead: bool, now: float) -> Change | None:
        """The message has its outcome; `dead` where that is a dead letter. Gives the move it makes, if any."""
        if ticket != self._ticket:
            return None
        if self.flow is Flow.PROBING:
            return self._probed(dead, now)
        self._run = self._run + 1 if dead else 0
        self._window.add(now, bad=dead)
        reason = self._too_many()
        return self._stop(reason, now) if reason is not None else None

    def resume(self) -> Change | None:
        """An operator says that all is well."""
        if self.flow is Flow.FLOWING:
            return None
        return self._move(Flow.FLOWING, "resumed by command")

    def _probed(self, dead: bool, now: float) -> Change | None:
        if dead:
            return self._stop("a probe became a dead letter", now)
        self._passed += 1
        if self._passed < self._policy.probes:
            return None
        return self._move(Flow.FLOWING, f"{self._passed} probes did well")

    def _too_many(self) -> str | None:
        window, policy = self._window, self._policy
        if policy.run is not None and self._run >= policy.run:
            return f"{self._run} dead letters in a row"
        if window.total >= policy.min_messages and window.bad >= policy.ratio * window.total:
            return f"{window.bad} of {window.total} messages became dead letters within {policy.window:g} s"
        return None

    def _stop(self, reason: str, now: float) -> Change:
        self.retry_at = now + self._policy.stop_for
        return self._move(Flow.STOPPED, reason)

    def _move(self, after: Flow, reason: str) -> Change:
        assert after in MOVES[self.flow]  # noqa: S101 - the table is the definition
        change = Change(self.flow, after, reason)
        self.flow = after
        self._ticket += 1
        self._taken = self._passed = self._run = 0
        self._window.clear()
        return change
