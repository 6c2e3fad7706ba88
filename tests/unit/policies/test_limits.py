"""The adaptive limit, simulated against servers of known capacity."""

import random
from functools import partial

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.unit.policies.simulation import Server, Timeline
from workers.policies.limits import AdaptiveLimit, LimitPolicy


class Load:
    """As many calls as the limit lets, or as `demand` asks for."""

    def __init__(self, server: Server, limit: AdaptiveLimit, demand: int = 10**9) -> None:
        self.timeline = Timeline()
        self.server = server
        self.limit = limit
        self.demand = demand
        self.answered = 0
        self.refuse_above: int | None = None

    def fill(self) -> None:
        while self.server.busy < min(self.limit.limit, self.demand):
            self.server.busy += 1
            seconds = self.server.latency()
            refused = self.refuse_above is not None and self.server.busy > self.refuse_above
            self.timeline.at(self.timeline.now + seconds, partial(self.end, seconds, refused))

    def end(self, seconds: float, refused: bool) -> None:
        in_flight = self.server.busy
        self.server.busy -= 1
        if refused:
            self.limit.refused(seconds, self.timeline.now)
        else:
            self.answered += 1
            self.limit.answered(seconds, in_flight, self.timeline.now)
        self.fill()

    def run(self, seconds: float) -> None:
        self.fill()
        self.timeline.run(self.timeline.now + seconds)


def noisy(seconds: float) -> Server:
    rng = random.Random(1)
    return Server(lambda: seconds * rng.lognormvariate(0, 0.3))


@pytest.mark.parametrize("parallel", [4, 20, 50, 200])
def test_it_finds_what_the_server_takes_at_once(parallel: int) -> None:
    server = noisy(1.0)
    server.parallel = parallel
    load = Load(server, AdaptiveLimit(LimitPolicy()))
    load.run(600)
    seen = []
    for _ in range(100):
        load.run(5)
        seen.append(load.limit.limit)
    seen.sort()
    assert parallel * 0.8 <= seen[50] <= parallel * 1.4 + 8


def test_throughput_is_kept_while_it_measures() -> None:
    server = noisy(1.0)
    server.parallel = 50
    load = Load(server, AdaptiveLimit(LimitPolicy()))
    load.run(300)
    before = load.answered
    load.run(500)
    best = 50 / 1.046 * 500  # the mean of the noise
    assert load.answered - before > 0.93 * best


def test_a_server_that_becomes_smaller_is_followed() -> None:
    server = noisy(1.0)
    server.parallel = 100
    load = Load(server, AdaptiveLimit(LimitPolicy()))
    load.run(600)
    server.parallel = 20
    load.run(600)
    assert load.limit.limit <= 45


def test_a_server_whose_answers_become_longer_is_not_mistaken_for_a_full_one() -> None:
    rng = random.Random(1)
    scale = [1.0]
    server = Server(lambda: scale[0] * rng.lognormvariate(0, 0.3), parallel=50)
    load = Load(server, AdaptiveLimit(LimitPolicy()))
    load.run(600)
    scale[0] = 3.0
    load.run(3000)
    assert 40 <= load.limit.limit <= 80


def test_little_demand_moves_nothing() -> None:
    load = Load(noisy(1.0), AdaptiveLimit(LimitPolicy()), demand=3)
    load.run(1000)
    assert load.limit.limit in {8, 16}


def test_refusals_bring_it_down_once_for_each_round() -> None:
    limit = AdaptiveLimit(LimitPolicy(initial=100, measure_share=1.0))
    for _ in range(50):
        limit.refused(seconds=1.0, now=10.0)
    assert limit.limit == 80
    limit.refused(seconds=1.0, now=10.5)
    assert limit.limit == 80
    limit.refused(seconds=1.0, now=11.5)
    assert limit.limit == 64


def test_a_server_that_refuses_what_is_too_much_is_kept_below_it() -> None:
    load = Load(noisy(1.0), AdaptiveLimit(LimitPolicy()))
    load.refuse_above = 40
    load.run(2000)
    assert 15 <= load.limit.limit <= 60


@given(st.lists(st.tuples(st.booleans(), st.floats(0, 100), st.integers(1, 2000)), max_size=300))
def test_it_keeps_its_bounds(events: list[tuple[bool, float, int]]) -> None:
    policy = LimitPolicy(smallest=2, largest=50)
    limit, now = AdaptiveLimit(policy), 0.0
    for answered, seconds, in_flight in events:
        now += seconds
        if answered:
            limit.answered(seconds, in_flight, now)
        else:
            limit.refused(seconds, now)
        assert policy.smallest <= limit.limit <= policy.largest
