"""Figures of our own are told as prometheus_client tells its own."""

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st
from prometheus_client import CollectorRegistry, Counter, Histogram, generate_latest

from workers.core.metrics import ATTEMPTS, LATENCY_BUCKETS, STAGE_SECONDS, Metrics

SECONDS = st.one_of(st.floats(0, 1000), st.sampled_from(LATENCY_BUCKETS))


def lines(registry: CollectorRegistry) -> list[str]:
    """What a scrape gets, less the time at which a figure was made, which ours don't tell."""
    told = generate_latest(registry).decode().splitlines()
    return sorted(line for line in told if not re.search(r"_created\b", line))


@given(st.lists(SECONDS, min_size=1, max_size=50))
def test_durations_stand_in_the_buckets_of_a_histogram(seconds: list[float]) -> None:
    ours, theirs = Metrics(), CollectorRegistry()
    family = Histogram(
        STAGE_SECONDS.name, STAGE_SECONDS.help, STAGE_SECONDS.labels, registry=theirs, buckets=LATENCY_BUCKETS
    )
    for one in seconds:
        ours.histogram(STAGE_SECONDS, "llm", "total").observe(one)
        family.labels("llm", "total").observe(one)
    assert lines(ours.registry) == lines(theirs)


def test_what_is_counted_is_told_as_a_counter() -> None:
    ours, theirs = Metrics(), CollectorRegistry()
    family = Counter(ATTEMPTS.name, ATTEMPTS.help, ATTEMPTS.labels, registry=theirs)
    for outcome, times in (("ok", 3), ("timeout", 1)):
        ours.count(ATTEMPTS, "llm", 'an "instance"', outcome).add(times)
        family.labels("llm", 'an "instance"', outcome).inc(times)
    assert lines(ours.registry) == lines(theirs)


def test_a_name_can_not_be_of_two_kinds() -> None:
    metrics = Metrics()
    metrics.count(ATTEMPTS, "llm", "one", "ok")
    with pytest.raises(ValueError, match="Duplicated timeseries"):
        metrics.counter(ATTEMPTS, "llm", "one", "ok")
