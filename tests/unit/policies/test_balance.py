"""Balancing, simulated: who gets how many calls, and who moves when an instance goes."""

import random
from collections import Counter
from collections.abc import Sequence
from functools import partial

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.unit.policies.simulation import Server, Timeline
from workers.policies.balance import BOUND, BalancePolicy, Balancer, Latency, Member, Strategy, bound

ALL: Sequence[Strategy] = ("p2c", "least_inflight", "session")


class Fleet:
    """Members with a server each. `failing` names those that refuse everything at once."""

    def __init__(
        self, strategy: Strategy, members: Sequence[Member], seconds: Sequence[float], failing: str = ""
    ) -> None:
        rng = random.Random(1)
        self.members = members
        self.balancer = Balancer(BalancePolicy(strategy), random.Random(2))
        self.servers = {
            member.name: Server(partial(rng.expovariate, 1 / mean))
            for member, mean in zip(members, seconds, strict=True)
        }
        self.failing = failing
        self.timeline = Timeline()
        self.calls: Counter[str] = Counter()

    def call(self, key: bytes | None = None) -> None:
        free = [member for member in self.members if member.calls < member.limit]
        member = self.balancer.choose(free, self.timeline.now, key=key)
        self.calls[member.name] += 1
        member.calls += 1
        failed = member.name == self.failing
        seconds = 0.001 if failed else self.servers[member.name].latency()
        self.timeline.at(self.timeline.now + seconds, lambda: self.end(member, seconds, failed))

    def end(self, member: Member, seconds: float, failed: bool) -> None:
        member.calls -= 1
        member.latency.observe(seconds, self.timeline.now, failed=failed)

    def run(self, rate: float, calls: int) -> Counter[str]:
        """An open loop of calls a second."""
        rng = random.Random(3)
        before, when = self.calls.copy(), self.timeline.now
        for _ in range(calls):
            when += rng.expovariate(rate)
            self.timeline.at(when, self.call)
        self.timeline.run(when + 1000)
        return self.calls - before


def members(*weights: float, limit: int = 1000) -> list[Member]:
    return [Member(f"m{number}", weight, limit) for number, weight in enumerate(weights)]


@pytest.mark.parametrize("rate", [0.5, 20, 200])
def test_p2c_avoids_a_slow_instance(rate: float) -> None:
    calls = Fleet("p2c", members(1, 1, 1, 1), [0.1, 0.1, 0.1, 2.0]).run(rate, 4000)
    assert calls["m3"] < 0.08 * calls.total()
    assert min(calls[name] for name in ("m0", "m1", "m2")) > 0.2 * calls.total()


def test_p2c_hears_of_a_slow_instance_again_when_it_is_fast() -> None:
    fleet = Fleet("p2c", members(1, 1), [0.1, 2.0])
    fleet.run(50, 3000)
    fleet.servers["m1"].seconds = fleet.servers["m0"].seconds
    fleet.run(50, 6000)
    calls = fleet.run(50, 3000)
    assert 0.4 < calls["m1"] / calls.total() < 0.6


@pytest.mark.parametrize("rate", [0.5, 50])
def test_p2c_does_not_take_an_instance_that_fails_at_once_for_a_fast_one(rate: float) -> None:
    calls = Fleet("p2c", members(1, 1), [0.1, 0.1], failing="m1").run(rate, 3000)
    assert calls["m1"] < 0.25 * calls.total()


@pytest.mark.parametrize("strategy", ["p2c", "least_inflight"])
@pytest.mark.parametrize("rate", [0.5, 100, 1000])
def test_weights_share_the_calls(strategy: Strategy, rate: float) -> None:
    calls = Fleet(strategy, members(1, 3), [0.1, 0.1]).run(rate, 4000)
    assert 0.17 < calls["m0"] / calls.total() < 0.33


def test_least_inflight_chooses_the_least_busy_for_its_weight() -> None:
    one, other = Member("a", weight=1, calls=2), Member("b", weight=4, calls=5)
    balancer = Balancer(BalancePolicy("least_inflight"), random.Random(1))
    assert balancer.choose([one, other], 0.0) is other


@pytest.mark.parametrize("strategy", ALL)
def test_the_one_to_avoid_is_chosen_only_where_there_is_no_other(strategy: Strategy) -> None:
    balancer = Balancer(BalancePolicy(strategy), random.Random(1))
    both = members(1, 1)
    for number in range(50):
        chosen = balancer.choose(both, 0.0, key=b"%d" % number, avoid="m0")
        assert chosen is both[1]
    assert balancer.choose(both[:1], 0.0, key=b"k", avoid="m0") is both[0]


def sessions(group: Sequence[Member], keys: int = 2000) -> dict[bytes, str]:
    balancer = Balancer(BalancePolicy("session"), random.Random(1))
    chosen = {}
    for number in range(keys):
        member = balancer.choose(group, 0.0, key=b"session-%d" % number)
        chosen[b"session-%d" % number] = member.name
    return chosen


def test_a_session_stays_and_only_those_of_a_leaving_instance_move() -> None:
    group = members(1, 1, 1, 1)
    before = sessions(group)
    assert sessions(group) == before
    after = sessions(group[:3])
    moved = {key for key in before if before[key] != after[key]}
    assert moved == {key for key, name in before.items() if name == "m3"}
    assert set(Counter(after[key] for key in moved)) == {"m0", "m1", "m2"}


def test_sessions_follow_the_weights() -> None:
    share = Counter(sessions(members(1, 3)).values())["m0"] / 2000
    assert 0.2 < share < 0.3


@given(
    weights=st.lists(st.floats(0.5, 8), min_size=1, max_size=6),
    keys=st.lists(st.sampled_from([b"hot", b"a", b"b", b"c"]), max_size=200),
)
def test_no_instance_holds_more_than_its_bound_however_hot_a_session_is(
    weights: list[float], keys: list[bytes]
) -> None:
    group = members(*weights)
    balancer = Balancer(BalancePolicy("session"), random.Random(1))
    for key in keys:
        member = balancer.choose(group, 0.0, key=key)
        member.calls += 1
        total = sum(one.calls for one in group)
        assert (
            member.calls
            <= bound(member, total, sum(weights))
            <= BOUND * total * member.weight / sum(weights) + 1
        )


def test_messages_without_a_session_are_balanced() -> None:
    calls = Fleet("session", members(1, 1), [0.1, 0.1]).run(50, 1000)
    assert 0.4 < calls["m0"] / calls.total() < 0.6


def test_an_instance_returns_gently() -> None:
    back = Member("a", weight=1, limit=64, returned_at=100.0)
    assert [back.capacity(now, 10.0) for now in (100.0, 102.5, 105.0, 110.0, 111.0)] == [6, 16, 32, 64, 64]
    assert back.returned_at is None
    assert Member("b", limit=4, returned_at=0.0).capacity(0.0, 10.0) == 1


@pytest.mark.parametrize("strategy", ["p2c", "least_inflight"])
def test_an_instance_that_returned_just_now_gets_a_small_share(strategy: Strategy) -> None:
    group = members(1, 1)
    group[1].returned_at = 0.0
    fleet = Fleet(strategy, group, [0.1, 0.1])
    fleet.balancer = Balancer(BalancePolicy(strategy, slow_start=1e9), random.Random(2))
    calls = fleet.run(100, 2000)
    assert 0.02 < calls["m1"] / calls.total() < 0.2


def test_latency_rises_at_once_falls_slowly_and_fades() -> None:
    latency = Latency()
    assert latency.current(0.0) is None
    latency.observe(1.0, 0.0)
    latency.observe(5.0, 0.1)
    assert latency.current(0.1) == 5.0
    latency.observe(1.0, 0.2)
    assert 4.0 < (latency.current(0.2) or 0) < 5.0
    assert (latency.current(180.0) or 9) < 0.5


def test_failures_never_make_an_instance_look_fast() -> None:
    latency = Latency()
    latency.observe(0.1, 0.0)
    for _ in range(20):
        before = latency.current(0.0) or 0.0
        latency.observe(0.001, 0.0, failed=True)
        assert (latency.current(0.0) or 0.0) > before or before == 60.0
