"""One instance of a target: its backend, what balancing knows of it, its breaker and its limit."""

from dataclasses import dataclass, field
from typing import Literal

import structlog

from schemas.errors import ErrorClass
from workers.core.clock import Clock
from workers.core.errors import MessageError
from workers.core.metrics import ATTEMPTS, BREAKER_MOVES, BREAKER_STATE, CALL_LIMIT, CALLS_IN_FLIGHT, Metrics
from workers.core.ports import Backend, PromptBackend
from workers.policies.balance import BalancePolicy, Member
from workers.policies.breaker import Breaker, BreakerPolicy, State, Transition
from workers.policies.limits import AdaptiveLimit, LimitPolicy
from workers.policies.retry import TREATMENTS

log = structlog.get_logger()

_NO_ROOM = frozenset({ErrorClass.OVERLOADED, ErrorClass.RATE_LIMITED, ErrorClass.TIMEOUT})
_OURS = frozenset(
    {ErrorClass.SCHEMA, ErrorClass.UNROUTABLE, ErrorClass.EXPIRED, ErrorClass.TOO_LARGE, ErrorClass.INTERNAL}
)
"""Failures before the instance was asked: they say nothing about it."""


@dataclass(frozen=True, slots=True)
class Seat:
    """One instance, how many calls it takes at once, and its share of them among others."""

    backend: Backend
    concurrency: int | Literal["adaptive"]
    weight: float = 1.0


@dataclass(frozen=True, slots=True)
class PoolRules:
    """How a target's instances are chosen and taken out.

    `waits`: whether messages wait while every breaker is open; else they are turned away.
    """

    balance: BalancePolicy = field(default_factory=BalancePolicy)
    breaker: BreakerPolicy = field(default_factory=BreakerPolicy)
    limit: LimitPolicy = field(default_factory=LimitPolicy)
    waits: bool = True


class Instance:
    """The state of one instance, and its figures."""

    def __init__(self, seat: Seat, target: str, rules: PoolRules, metrics: Metrics, clock: Clock) -> None:
        name = seat.backend.name
        self.backend = seat.backend
        self.prompt = seat.backend if isinstance(seat.backend, PromptBackend) else None  # slow to find out
        self.breaker = Breaker(rules.breaker)
        self._limit = AdaptiveLimit(rules.limit) if seat.concurrency == "adaptive" else None
        limit = self._limit.limit if self._limit is not None else int(seat.concurrency)
        self.member = Member(name, seat.weight, limit)
        self._target = target
        self._slow_start = rules.balance.slow_start
        self._clock = clock
        self._counts = {
            outcome: metrics.count(ATTEMPTS, target, name, outcome) for outcome in ("ok", *ErrorClass)
        }
        self._moves = {state: metrics.counter(BREAKER_MOVES, target, name, state.label) for state in State}
        metrics.gauge(CALLS_IN_FLIGHT, target, name).set_function(lambda: self.member.calls)
        metrics.gauge(BREAKER_STATE, target, name).set_function(lambda: self.breaker.state)
        metrics.gauge(CALL_LIMIT, target, name).set_function(self._capacity)

    @property
    def free(self) -> bool:
        """Whether it takes another call."""
        member = self.member
        if self.breaker.state is State.CLOSED and member.returned_at is None:
            return member.calls < member.limit
        now = self._clock.monotonic()
        return self.breaker.allows(now) and member.calls < member.capacity(now, self._slow_start)

    def begin(self) -> int:
        """A call begins. Gives the breaker's ticket."""
        self.member.calls += 1
        ticket, move = self.breaker.begin()
        self._tell(move)
        return ticket

    def end(self, ticket: int, failure: MessageError | None, seconds: float) -> None:
        """The call is over: answered in `seconds`, or failed."""
        member, now = self.member, self._clock.monotonic()
        error_class = None if failure is None else failure.error_class
        self._counts[error_class or "ok"].add()
        if error_class in _OURS:
            self.abandon(ticket)
            return
        failed = error_class is not None and TREATMENTS[error_class].breaker
        member.latency.observe(seconds, now, failed=failed or error_class is ErrorClass.RATE_LIMITED)
        self._adapt(error_class, seconds, now)
        member.calls -= 1
        self._tell(self.breaker.end(ticket, failed=failed, seconds=seconds, now=now))

    def abandon(self, ticket: int) -> None:
        """The call was not made, or ended without a result: that says nothing about the instance."""
        self.member.calls -= 1
        self.breaker.abandon(ticket)

    def _adapt(self, error_class: ErrorClass | None, seconds: float, now: float) -> None:
        if self._limit is None:
            return
        if error_class is None:
            self._limit.answered(seconds, self.member.calls, now)
        elif error_class in _NO_ROOM:
            self._limit.refused(seconds, now)
        self.member.limit = self._limit.limit

    def _capacity(self) -> float:
        return self.member.capacity(self._clock.monotonic(), self._slow_start)

    def _tell(self, move: Transition | None) -> None:
        if move is None:
            return
        if move.after is State.CLOSED:
            self.member.returned_at = self._clock.monotonic()
        self._moves[move.after].inc()
        write = log.warning if move.after is State.OPEN else log.info
        write(
            "breaker_moved",
            target=self._target,
            instance=self.member.name,
            state=move.after.label,
            reason=move.reason,
        )
