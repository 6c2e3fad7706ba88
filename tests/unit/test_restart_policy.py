"""Back-off between the restarts of a process that dies."""

from hypothesis import given
from hypothesis import strategies as st

from workers.local.restart import RestartPolicy, Restarts

POLICY = RestartPolicy(initial=0.5, multiplier=2, longest=30, healthy_after=30)


def test_the_wait_doubles_up_to_the_longest() -> None:
    restarts = Restarts(POLICY)
    assert [restarts.died(ran_for=1) for _ in range(8)] == [0.5, 1, 2, 4, 8, 16, 30, 30]


def test_a_healthy_while_is_a_fresh_start() -> None:
    restarts = Restarts(POLICY)
    for _ in range(5):
        restarts.died(ran_for=1)
    assert restarts.died(ran_for=30) == 0.5
    assert restarts.died(ran_for=29.9) == 1


@given(st.integers(min_value=1, max_value=100_000))
def test_no_number_of_failures_overflows_or_exceeds_the_longest_wait(failures: int) -> None:
    assert POLICY.initial <= POLICY.delay(failures) <= POLICY.longest
