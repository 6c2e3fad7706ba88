import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from workers.core.clock import ManualClock
from workers.policies.expiry import UsualTime, deadline_of


def test_the_usual_time_settles_near_the_median_and_hardly_moves_for_one_hanging_call() -> None:
    usual, rng = UsualTime(), random.Random(3)
    for _ in range(2000):
        usual.observe(rng.uniform(0.9, 1.1), 0.0)
    before = usual.current(0.0)
    assert before == pytest.approx(1.0, rel=0.15)
    usual.observe(600.0, 0.0)
    assert usual.current(0.0) <= before * 1.06


def test_without_samples_the_estimate_fades_so_that_refusing_cannot_last_for_ever() -> None:
    usual = UsualTime(half_life=30.0)
    assert usual.current(0.0) == 0.0
    usual.observe(8.0, 100.0)
    assert usual.current(130.0) == pytest.approx(4.0)


@given(st.lists(st.floats(0.0, 1e6), min_size=1))
def test_the_estimate_stays_within_what_was_seen(samples: list[float]) -> None:
    usual = UsualTime()
    for sample in samples:
        usual.observe(sample, 0.0)
    assert min(samples) <= usual.current(0.0) <= max(samples)


def test_the_earlier_of_target_and_message_counts() -> None:
    clock = ManualClock(wall=1000.0)
    assert deadline_of(990.0, None, None, clock) is None
    assert deadline_of(990.0, None, 60.0, clock) == pytest.approx(50.0)
    assert deadline_of(990.0, 1_020_000, 60.0, clock) == pytest.approx(20.0)
    assert deadline_of(990.0, 1_020_000, None, clock) == pytest.approx(20.0)


def test_a_wall_clock_that_jumps_does_not_move_a_deadline() -> None:
    clock = ManualClock(wall=1000.0)
    deadline = deadline_of(1000.0, None, 60.0, clock)
    clock.jump(-86_400.0)
    clock.advance(59.0)
    assert deadline is not None
    assert deadline - clock.monotonic() == pytest.approx(1.0)
