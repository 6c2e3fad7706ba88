import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from schemas.errors import ErrorClass
from workers.core.errors import MessageError, PermanentError, RefusedError, TransientError
from workers.policies.retry import (
    TREATMENTS,
    Bound,
    DelayTopic,
    GiveUp,
    Moment,
    RetryPolicy,
    RetryState,
    Step,
    WaitInMemory,
    count,
    deserves_dead_letter,
    next_step,
)

LADDER = (("30s", 30.0), ("5m", 300.0))
POLICY = RetryPolicy(ladder=LADDER)


def failure(
    error_class: ErrorClass = ErrorClass.UPSTREAM_5XX, retry_after: float | None = None
) -> TransientError:
    return TransientError(error_class, "no", retry_after=retry_after)


def decide(
    policy: RetryPolicy, state: RetryState, error: MessageError, remaining: float | None = None, seed: int = 1
) -> Step:
    count(state, error, 1000.0)
    return next_step(policy, state, error, Moment(1000.0, remaining), random.Random(seed))


def test_every_class_has_a_treatment() -> None:
    assert set(TREATMENTS) == set(ErrorClass)


def test_waits_double_without_jitter_until_the_longest() -> None:
    policy = RetryPolicy(attempts=10, jitter=False, max_wait=5.0)
    state = RetryState()
    waits = [decide(policy, state, failure()) for _ in range(5)]
    assert waits == [WaitInMemory(seconds) for seconds in (1.0, 2.0, 4.0, 5.0, 5.0)]


def test_a_seed_makes_jitter_repeatable() -> None:
    first, again = (decide(POLICY, RetryState(), failure(), seed=7) for _ in range(2))
    assert first == again
    assert isinstance(first, WaitInMemory)
    assert 0 <= first.seconds <= 1.0


def test_attempts_end_and_the_reason_says_so() -> None:
    state = RetryState(attempts=4)
    assert decide(POLICY, state, failure()) == GiveUp(Bound.ATTEMPTS)


@pytest.mark.parametrize("error_class", [ErrorClass.RATE_LIMITED, ErrorClass.OVERLOADED])
def test_being_put_off_burns_no_attempt_but_has_a_ceiling(error_class: ErrorClass) -> None:
    state = RetryState(attempts=4)
    assert not isinstance(decide(POLICY, state, failure(error_class)), GiveUp)
    assert (state.attempts, state.deferrals) == (4, 1)
    state.deferrals = POLICY.deferrals - 1
    assert decide(POLICY, state, failure(error_class)) == GiveUp(Bound.DEFERRALS)


def test_retry_after_wins_when_longer_and_loses_when_shorter() -> None:
    policy = RetryPolicy(jitter=False)
    assert decide(policy, RetryState(), failure(retry_after=3.0)) == WaitInMemory(3.0)
    assert decide(policy, RetryState(), failure(retry_after=0.5)) == WaitInMemory(1.0)


def test_a_long_wait_goes_to_the_next_longer_delay_topic() -> None:
    assert decide(POLICY, RetryState(), failure(retry_after=10.0)) == DelayTopic("30s", 30.0)
    assert decide(POLICY, RetryState(), failure(retry_after=31.0)) == DelayTopic("5m", 300.0)
    assert decide(POLICY, RetryState(), failure(retry_after=9000.0)) == DelayTopic("5m", 300.0)


def test_an_ordered_message_waits_in_memory_however_long() -> None:
    policy = RetryPolicy(ladder=LADDER, ordered=True)
    assert decide(policy, RetryState(), failure(retry_after=100.0)) == WaitInMemory(100.0)


def test_the_deadline_ends_the_tries_when_the_wait_would_outlive_it() -> None:
    assert decide(POLICY, RetryState(), failure(retry_after=5.0), remaining=5.0) == GiveUp(Bound.DEADLINE)
    assert decide(POLICY, RetryState(), failure(retry_after=20.0), remaining=29.0) == GiveUp(Bound.DEADLINE)


def test_age_ends_the_tries() -> None:
    state = RetryState(deferrals=3, first_failed_at=1000.0 - POLICY.max_age)
    assert decide(POLICY, state, failure(ErrorClass.OVERLOADED)) == GiveUp(Bound.AGE)


def test_what_no_attempt_mends_is_not_tried_again() -> None:
    assert decide(POLICY, RetryState(), PermanentError(ErrorClass.UPSTREAM_4XX, "no")) == GiveUp(Bound.CLASS)
    assert decide(POLICY, RetryState(), PermanentError(ErrorClass.TIMEOUT, "no")) == GiveUp(Bound.CLASS)


def test_only_what_expired_or_was_declined_gets_no_dead_letter() -> None:
    without = {name for name in ErrorClass if not deserves_dead_letter(PermanentError(name, "no"))}
    assert without == {ErrorClass.EXPIRED}
    assert not deserves_dead_letter(RefusedError(ErrorClass.OVERLOADED, "no"))


POLICIES = st.builds(
    RetryPolicy,
    attempts=st.integers(1, 10),
    initial=st.floats(0.01, 10),
    multiplier=st.floats(1, 10),
    max_wait=st.floats(0.01, 100),
    hold_up_to=st.floats(0, 20),
    ladder=st.sampled_from([(), LADDER]),
    ordered=st.booleans(),
    deferrals=st.integers(1, 20),
)
RETRIED = st.sampled_from([name for name, treatment in TREATMENTS.items() if treatment.retried])


@given(
    POLICIES,
    st.lists(RETRIED, min_size=40, max_size=40),
    st.one_of(st.none(), st.floats(0, 100)),
    st.integers(),
)
def test_tries_always_end_and_no_wait_outlives_the_deadline(
    policy: RetryPolicy, classes: list[ErrorClass], remaining: float | None, seed: int
) -> None:
    state, rng = RetryState(), random.Random(seed)
    for error_class in classes:
        error = failure(error_class)
        count(state, error, 1000.0)
        step = next_step(policy, state, error, Moment(1000.0, remaining), rng)
        if isinstance(step, GiveUp):
            break
        assert remaining is None or step.seconds < remaining
        assert (
            isinstance(step, DelayTopic)
            or policy.ordered
            or not policy.ladder
            or step.seconds <= policy.hold_up_to
        )
    else:
        pytest.fail("40 failures and still no end")
