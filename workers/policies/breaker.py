"""When an instance is called no longer, and when it is tried again. All times are seconds of a monotonic clock."""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import IntEnum
from types import MappingProxyType

from workers.policies.window import SlidingWindow


class State(IntEnum):
    """Where a breaker stands. The numbers are those of the metric."""

    CLOSED = 0  # calls pass and are counted
    HALF_OPEN = 1  # a few calls pass, to see whether the instance is well again
    OPEN = 2  # no call passes

    @property
    def label(self) -> str:
        """As people write it."""
        return self.name.lower().replace("_", "-")


MOVES: Mapping[State, frozenset[State]] = MappingProxyType(
    {
        State.CLOSED: frozenset({State.OPEN}),
        State.OPEN: frozenset({State.HALF_OPEN}),
        State.HALF_OPEN: frozenset({State.CLOSED, State.OPEN}),
    }
)
"""The moves there are."""


@dataclass(frozen=True, slots=True)
class BreakerPolicy:
    """When to open: at a share of failed calls or, where `slow_call` is set, of calls that take longer than that.

    Both are shares of the calls that ended within `window`, and need `min_calls` of them. After `open_for`, `probes`
    calls are let through: when all of them succeed the breaker closes, when one fails or is slow it opens again.
    """

    error_rate: float = 0.5
    slow_call: float | None = None
    slow_rate: float = 0.8
    window: float = 10.0
    min_calls: int = 20
    open_for: float = 15.0
    probes: int = 3


@dataclass(frozen=True, slots=True)
class Transition:
    """A move, for the log and the metrics. `reason` holds numbers only."""

    before: State
    after: State
    reason: str


class Breaker:
    """The state of one instance.

    A call takes a ticket when it begins and gives it back when it ends. The result of a call that began before the
    last move says nothing about the present and is ignored.
    """

    def __init__(self, policy: BreakerPolicy) -> None:
        self._policy = policy
        self._window = SlidingWindow(policy.window)
        self.state = State.CLOSED
        self.retry_at = 0.0
        self._ticket = 0
        self._begun = 0
        self._passed = 0

    def allows(self, now: float) -> bool:
        """Whether a call may begin."""
        match self.state:
            case State.CLOSED:
                return True
            case State.OPEN:
                return now >= self.retry_at
            case State.HALF_OPEN:
                return self._begun < self._policy.probes

    def begin(self) -> tuple[int, Transition | None]:
        """A call begins, which `allows` has granted. Gives its ticket, and the move to half-open where it makes one."""
        move = None
        if self.state is State.OPEN:
            move = self._move(
                State.HALF_OPEN, f"{self._policy.open_for:g} s are over: trying {self._policy.probes}"
            )
        if self.state is State.HALF_OPEN:
            self._begun += 1
        return self._ticket, move

    def abandon(self, ticket: int) -> None:
        """The call ended without a result: another one may be tried in its place."""
        if ticket == self._ticket and self.state is State.HALF_OPEN:
            self._begun -= 1

    def end(self, ticket: int, *, failed: bool, seconds: float, now: float) -> Transition | None:
        """The call ended after `seconds`. Gives the move it makes, if any."""
        if ticket != self._ticket:
            return None
        slow = self._policy.slow_call is not None and seconds > self._policy.slow_call
        if self.state is State.HALF_OPEN:
            return self._probed(failed, slow, now)
        self._window.add(now, bad=failed, slow=slow)
        reason = self._too_bad()
        return self._open(reason, now) if reason is not None else None

    def _probed(self, failed: bool, slow: bool, now: float) -> Transition | None:
        if failed or slow:
            return self._open("a probe failed" if failed else "a probe was slow", now)
        self._passed += 1
        if self._passed < self._policy.probes:
            return None
        return self._move(State.CLOSED, f"{self._passed} probes succeeded")

    def _too_bad(self) -> str | None:
        window, policy = self._window, self._policy
        if window.total < policy.min_calls:
            return None
        if window.bad >= policy.error_rate * window.total:
            return f"{window.bad} of {window.total} calls failed within {policy.window:g} s"
        if policy.slow_call is not None and window.slow >= policy.slow_rate * window.total:
            took = f"took longer than {policy.slow_call:g} s"
            return f"{window.slow} of {window.total} calls {took} within {policy.window:g} s"
        return None

    def _open(self, reason: str, now: float) -> Transition:
        self.retry_at = now + self._policy.open_for
        return self._move(State.OPEN, reason)

    def _move(self, after: State, reason: str) -> Transition:
        assert after in MOVES[self.state]  # noqa: S101 - the table is the definition
        transition = Transition(self.state, after, reason)
        self.state = after
        self._ticket += 1
        self._begun = self._passed = 0
        self._window.clear()
        return transition
