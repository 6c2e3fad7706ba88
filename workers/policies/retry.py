"""What a failure means: whether to try again, when, where the message waits, and who learns of it."""

import random
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from types import MappingProxyType

from schemas.errors import ErrorClass
from workers.core.errors import MessageError, RefusedError, TransientError


@dataclass(frozen=True, slots=True)
class Treatment:
    """How failures of one class are treated."""

    retried: bool = False
    burns_attempt: bool = True  # False: a deferral, with a ceiling of its own
    breaker: bool = False  # whether it counts against the instance
    dead_letter: bool = True
    retryable: bool = False  # whether the caller may well send it again


TREATMENTS: Mapping[ErrorClass, Treatment] = MappingProxyType(
    {
        ErrorClass.RATE_LIMITED: Treatment(retried=True, burns_attempt=False, retryable=True),
        ErrorClass.OVERLOADED: Treatment(retried=True, burns_attempt=False, breaker=True, retryable=True),
        ErrorClass.TIMEOUT: Treatment(retried=True, breaker=True, retryable=True),
        ErrorClass.CONNECT: Treatment(retried=True, breaker=True, retryable=True),
        ErrorClass.UPSTREAM_5XX: Treatment(retried=True, breaker=True, retryable=True),
        ErrorClass.UPSTREAM_4XX: Treatment(),
        # Wrong credentials are the instance's fault, never the message's: the breaker keeps the others out of it.
        ErrorClass.AUTH: Treatment(retried=True, breaker=True),
        ErrorClass.CONTENT_FILTER: Treatment(),
        ErrorClass.CONTEXT_LENGTH: Treatment(),
        ErrorClass.SCHEMA: Treatment(),
        ErrorClass.UNROUTABLE: Treatment(),
        ErrorClass.EXPIRED: Treatment(dead_letter=False, retryable=True),
        ErrorClass.TOO_LARGE: Treatment(),
        ErrorClass.INTERNAL: Treatment(retryable=True),
    }
)


def deserves_dead_letter(error: MessageError) -> bool:
    """Whether an operator should find the message: not where it merely expired or our own policy declined it."""
    return TREATMENTS[error.error_class].dead_letter and not isinstance(error, RefusedError)


@dataclass(frozen=True, slots=True)
class RetryPolicy:
    """The bounds. Times are seconds; `ladder` holds the delay topics' labels and delays, ascending.

    `ordered`: the message keeps its place among those of its key, so it waits in memory however long it takes.
    """

    attempts: int = 5
    initial: float = 1.0
    multiplier: float = 2.0
    max_wait: float = 60.0
    jitter: bool = True
    hold_up_to: float = 8.0
    ladder: tuple[tuple[str, float], ...] = ()
    ordered: bool = False
    deferrals: int = 1000
    max_age: float = 86_400.0


@dataclass(slots=True)
class RetryState:
    """What one message has been through. `first_failed_at` is epoch seconds, None before the first failure."""

    attempts: int = 0
    deferrals: int = 0
    first_failed_at: float | None = None


class Bound(StrEnum):
    """What ended the tries."""

    CLASS = "no further attempt would mend it"
    ATTEMPTS = "no attempts are left"
    DEFERRALS = "it was put off too often"
    AGE = "it has been failing for too long"
    FALLBACK = "another target takes it"
    DEADLINE = "its deadline leaves no time for another attempt"


@dataclass(frozen=True, slots=True)
class WaitInMemory:
    """Try again after so many seconds; the message stays in flight."""

    seconds: float


@dataclass(frozen=True, slots=True)
class DelayTopic:
    """Let the message wait in the delay topic of this label, for this many seconds."""

    label: str
    seconds: float


@dataclass(frozen=True, slots=True)
class GiveUp:
    """The message has failed."""

    bound: Bound


Step = WaitInMemory | DelayTopic | GiveUp


def count(state: RetryState, failure: MessageError, now: float) -> None:
    """Enter a failed attempt into the state; `now` is epoch seconds."""
    if state.first_failed_at is None:
        state.first_failed_at = now
    if TREATMENTS[failure.error_class].burns_attempt:
        state.attempts += 1
    else:
        state.deferrals += 1


@dataclass(frozen=True, slots=True)
class Moment:
    """When a decision is made: `now` in epoch seconds, `remaining` seconds to the deadline (None: there is none)."""

    now: float
    remaining: float | None = None


def next_step(
    policy: RetryPolicy, state: RetryState, failure: MessageError, moment: Moment, rng: random.Random
) -> Step:
    """What to do after this failure, which `state` has counted already."""
    bound = _bound(policy, state, failure, moment.now)
    if bound is not None:
        return GiveUp(bound)
    wait = _wait(policy, state, failure, rng)
    step = _place(policy, wait)
    if moment.remaining is not None and step.seconds >= moment.remaining:
        return GiveUp(Bound.DEADLINE)
    return step


def _bound(policy: RetryPolicy, state: RetryState, failure: MessageError, now: float) -> Bound | None:
    if not isinstance(failure, TransientError) or not TREATMENTS[failure.error_class].retried:
        return Bound.CLASS
    if state.attempts >= policy.attempts:
        return Bound.ATTEMPTS
    if state.deferrals >= policy.deferrals:
        return Bound.DEFERRALS
    if state.first_failed_at is not None and now - state.first_failed_at >= policy.max_age:
        return Bound.AGE
    return None


def _wait(policy: RetryPolicy, state: RetryState, failure: MessageError, rng: random.Random) -> float:
    """Exponential with full jitter, in seconds; the backend's own Retry-After wins when longer."""
    doublings = min(state.attempts + state.deferrals - 1, 64)
    ceiling = min(policy.max_wait, policy.initial * policy.multiplier**doublings)
    wait = rng.uniform(0.0, ceiling) if policy.jitter else ceiling
    return max(wait, failure.retry_after or 0.0)


def _place(policy: RetryPolicy, wait: float) -> WaitInMemory | DelayTopic:
    if wait <= policy.hold_up_to or policy.ordered or not policy.ladder:
        return WaitInMemory(wait)
    for label, delay in policy.ladder:
        if delay >= wait:
            return DelayTopic(label, delay)
    return DelayTopic(*policy.ladder[-1])
