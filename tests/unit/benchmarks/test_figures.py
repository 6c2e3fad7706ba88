"""The statistics of the benchmarks, held against data whose answer is known."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from benchmarks.figures import (
    Point,
    at_percentile,
    compare,
    curve,
    encoded_text,
    histogram,
    knee,
    merged,
    quantiles,
    ratios,
    slope,
    spread,
)

HOURS = np.linspace(0, 2, 200).tolist()


@settings(deadline=None, max_examples=40)
@given(st.lists(st.floats(min_value=0.01, max_value=60_000), min_size=1, max_size=300))
def test_a_histogram_keeps_quantiles_to_a_thousandth(milliseconds: list[float]) -> None:
    found = quantiles(histogram(milliseconds))
    assert found["count"] == len(milliseconds)
    assert found["max"] == pytest.approx(max(milliseconds), rel=0.002, abs=0.002)
    exact = sorted(milliseconds)[max(0, int(np.ceil(0.5 * len(milliseconds))) - 1)]
    assert found["p50"] == pytest.approx(exact, rel=0.002, abs=0.002)


def test_histograms_that_are_merged_hold_all_values_not_the_mean_of_quantiles() -> None:
    fast, slow = histogram([1.0] * 990), histogram([500.0] * 10)
    found = quantiles(merged([encoded_text(fast), encoded_text(slow)]))
    assert found["count"] == 1000
    assert found["p50"] == pytest.approx(1.0, rel=0.01)
    assert found["p99.9"] == pytest.approx(500.0, rel=0.01)


def test_nothing_measured_has_no_quantiles() -> None:
    assert quantiles(histogram([])) == {"count": 0}
    assert curve(histogram([])) == []


def test_a_curve_goes_no_deeper_than_its_values_can_tell() -> None:
    points = curve(histogram([float(number) for number in range(1, 101)]))
    assert points[0][0] == 0
    assert points[-1][0] == pytest.approx(0.99)
    assert [value for _, value in points] == sorted(value for _, value in points)


def test_a_leak_is_found_through_noise_and_its_interval_holds_the_truth() -> None:
    noise = np.random.default_rng(1).normal(0, 3, len(HOURS))
    found = slope(HOURS, [200 + 12 * hour + each for hour, each in zip(HOURS, noise, strict=True)])
    assert found.low <= 12 <= found.high
    assert found.verdict() == "leak"


def test_noise_alone_is_flat() -> None:
    noise = np.random.default_rng(2).normal(0, 0.2, len(HOURS))
    found = slope(HOURS, (200 + noise).tolist())
    assert found.low <= 0 <= found.high
    assert found.verdict() == "flat"


def test_noise_that_hides_a_percent_an_hour_is_not_called_flat() -> None:
    noise = np.random.default_rng(3).normal(0, 40, len(HOURS))
    assert slope(HOURS, (200 + noise).tolist()).verdict() == "not known yet"


def test_neighbours_that_are_alike_widen_the_interval() -> None:
    dice = np.random.default_rng(4)
    alone = dice.normal(0, 1, len(HOURS))
    alike = np.convolve(dice.normal(0, 1, len(HOURS) + 19), np.ones(20) / 20**0.5, "valid")
    apart, together = (slope(HOURS, (100 + each).tolist()) for each in (alone, alike))
    assert together.high - together.low > 1.5 * (apart.high - apart.low)


def test_a_restart_that_begins_at_another_level_is_no_slope() -> None:
    values = [300.0 if hour < 1 else 100.0 for hour in HOURS]
    segments = [0 if hour < 1 else 1 for hour in HOURS]
    assert slope(HOURS, values).per_hour < -100
    assert slope(HOURS, values, segments).per_hour == pytest.approx(0, abs=1e-6)


def test_a_few_minutes_say_nothing_about_hours() -> None:
    minutes = np.linspace(0, 0.1, 50).tolist()
    assert slope(minutes, [100 + 50 * hour for hour in minutes]).verdict() == "not known yet"


def test_a_slope_needs_samples() -> None:
    with pytest.raises(ValueError, match="four samples"):
        slope([0, 1, 2], [1, 2, 3])


def test_the_knee_is_the_last_rate_at_which_all_came_and_latency_had_not_bent() -> None:
    good = [Point(1000, 999, 10), Point(2000, 1995, 14), Point(4000, 3990, 60)]
    assert knee([*good, Point(8000, 5100, 4000)]) == 4000
    assert knee([*good, Point(8000, 7990, 400)]) == 4000
    assert knee([*good, Point(8000, 7990, 80, errors=0.01)]) == 4000
    assert knee(list(reversed([*good, Point(8000, 5100, 4000)]))) == 4000


def test_a_rate_above_one_that_was_too_much_is_no_knee() -> None:
    assert knee([Point(1000, 999, 10), Point(2000, 1500, 900), Point(4000, 3999, 11)]) == 1000


def test_where_the_lowest_rate_is_too_much_there_is_no_knee() -> None:
    assert knee([Point(1000, 600, 900)]) is None
    assert knee([]) is None


def test_two_runs_of_the_same_thing_do_not_differ_and_a_slower_one_does() -> None:
    dice = np.random.default_rng(5)

    def seconds(scale: float) -> list[np.ndarray[tuple[int], np.dtype[np.float64]]]:
        return [dice.lognormal(2, 0.3, 400) * scale for _ in range(20)]

    first = seconds(1.0)
    same = compare(first, seconds(1.0), at_percentile(50))
    slower = compare(first, seconds(1.2), at_percentile(50))
    assert not same.differs
    assert slower.differs
    assert slower.low <= 1.2 <= slower.high


def test_runs_that_vary_by_the_second_are_compared_by_whole_seconds() -> None:
    dice = np.random.default_rng(6)
    quiet = [np.full(400, 10.0) for _ in range(10)]
    restless = [np.full(400, dice.choice([8.0, 12.0])) for _ in range(10)]
    assert not compare(quiet, restless, at_percentile(50)).differs


def test_spread_is_median_least_and_most() -> None:
    found = spread([3.0, 1.0, 2.0])
    assert (found.median, found.low, found.high, found.runs) == (2.0, 1.0, 3.0, 3)
    with pytest.raises(ValueError, match="no run"):
        spread([])


def test_a_peer_that_was_not_measured_has_no_ratio() -> None:
    assert ratios(1000.0, {"faust": 400.0, "quix": None}) == {"faust": 2.5, "quix": None}


def test_one_run_of_each_shows_no_difference_however_large_it_looks() -> None:
    one, other = [np.asarray([100.0])], [np.asarray([50.0])]
    found = compare(one, other, lambda values: float(np.median(values)))
    assert found.ratio == 0.5
    assert not found.differs
    assert compare(one * 5, other * 5, lambda values: float(np.median(values))).differs
