"""When a broker that has just started counts as warm."""

import pytest

from benchmarks.warming import settled


@pytest.mark.parametrize(
    ("costs", "over"),
    [
        ([100.0, 20, 10, 9.9, 10.2, 9.8], True),
        ([100.0, 10, 10, 10, 10], False),  # too few to tell
        ([100.0, 90, 80, 70, 60, 50], False),  # still getting better
        ([100.0, 30, 10, 40, 25, 8], False),  # noise, and then better than ever
        ([100.0, 30, 10, 40, 25, 12], True),
    ],
)
def test_a_broker_is_warm_once_a_record_costs_it_no_less_than_before(costs: list[float], over: bool) -> None:
    assert settled(costs) is over
