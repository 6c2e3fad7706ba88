from collections import Counter, deque

import pytest
from hypothesis import given
from hypothesis import strategies as st

from workers.policies.lanes import Lanes
from workers.policies.turns import BATCH, INTERACTIVE, FairQueue, Flow

FLOWS = st.builds(
    Flow, st.sampled_from("abcd"), st.sampled_from([0.5, 1.0, 3.0]), st.sampled_from([INTERACTIVE, BATCH])
)
Item = tuple[Flow, int]


def queue() -> FairQueue[Item]:
    return FairQueue(lambda item: item[0])


def flood(fair: FairQueue[Item], flow: Flow, count: int) -> None:
    fair.extend((flow, number) for number in range(count))


def served(fair: FairQueue[Item], count: int) -> "Counter[Flow]":
    return Counter(fair.popleft()[0] for _ in range(count))


@given(st.lists(st.one_of(FLOWS, st.none()), max_size=300))
def test_nothing_is_lost_or_doubled_and_each_flow_keeps_its_order(steps: list[Flow | None]) -> None:
    """A flow: one of its messages comes; None: one is taken."""
    fair, waiting, number = queue(), dict[Flow, deque[int]](), 0
    for flow in steps:
        if flow is not None:
            fair.append((flow, number))
            waiting.setdefault(flow, deque()).append(number)
            number += 1
        elif fair:
            taken, which = fair.popleft()
            assert waiting[taken].popleft() == which
        assert len(fair) == sum(map(len, waiting.values()))
        assert bool(fair) == (len(fair) > 0)
    assert sorted(which for _, which in fair) == sorted(which for each in waiting.values() for which in each)


@given(st.lists(st.sampled_from([1.0, 2.0, 5.0]), min_size=2, max_size=5), st.integers(20, 400))
def test_while_all_wait_each_gets_its_share(weights: list[float], turns: int) -> None:
    fair = queue()
    flows = [Flow(str(number), weight) for number, weight in enumerate(weights)]
    for flow in flows:
        flood(fair, flow, turns)
    got = served(fair, turns)
    for flow in flows:
        share = turns * flow.weight / sum(weights)
        assert abs(got[flow] - share) <= len(flows) + flow.weight


@given(st.integers(1, 2000), st.integers(0, 500))
def test_who_comes_with_little_is_served_at_once_whatever_others_have_waiting(
    waiting: int, before: int
) -> None:
    fair, flooding, little = queue(), Flow("flood"), Flow("little")
    flood(fair, flooding, waiting + before)
    served(fair, before)
    fair.append((little, 0))
    assert served(fair, min(2, waiting + 1))[little] == 1


def test_who_was_idle_has_saved_nothing_up() -> None:
    fair, busy, idle = queue(), Flow("busy"), Flow("idle")
    flood(fair, idle, 1)
    flood(fair, busy, 1000)
    served(fair, 500)
    flood(fair, idle, 100)
    assert served(fair, 100)[idle] == pytest.approx(50, abs=2)


def test_what_nobody_waits_for_gets_a_tenth_and_never_nothing() -> None:
    fair = queue()
    flood(fair, Flow("a", 1.0, INTERACTIVE), 1000)
    flood(fair, Flow("a", 1.0, BATCH), 1000)
    got = served(fair, 200)
    assert got[Flow("a", 1.0, BATCH)] == pytest.approx(20, abs=2)
    got = served(fair, 1800)
    assert not fair
    assert got[Flow("a", 1.0, BATCH)] == pytest.approx(980, abs=2)


def test_a_costly_message_is_several_turns() -> None:
    fair: FairQueue[tuple[Flow, float]] = FairQueue(lambda item: item[0], lambda item: item[1])
    long, short = Flow("long"), Flow("short")
    fair.extend((long, 4.0) for _ in range(100))
    fair.extend((short, 1.0) for _ in range(100))
    got = Counter(fair.popleft()[0] for _ in range(100))
    assert got[short] == pytest.approx(80, abs=3)


def test_what_is_known_of_flows_that_are_gone_is_forgotten() -> None:
    fair = queue()
    for number in range(1000):
        fair.append((Flow(str(number)), 0))
        fair.popleft()
    assert len(fair._tenants[INTERACTIVE].next_turn) < 100


def test_lanes_keep_each_keys_order_while_flows_take_turns() -> None:
    lanes: Lanes[Item] = Lanes(queue())
    a, b = Flow("a"), Flow("b")
    for number in range(3):
        lanes.add((a, number), "key")
    lanes.add((a, 10))
    lanes.add((b, 20))
    assert [lanes.next(), lanes.next(), lanes.next()] == [(a, 0), (b, 20), (a, 10)]
    assert lanes.next() is None
    lanes.done("key")
    assert lanes.next() == (a, 1)
    lanes.add((b, 21))
    assert lanes.drop(lambda item: item[0] == b, lambda _: False) == [(b, 21)]
    assert not lanes.ready
