"""Loads: when messages are sent, what is made of arrivals, how a topic's rate is told."""

import asyncio
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from benchmarks.load.backlog import rate_of
from benchmarks.load.calls import Calls
from benchmarks.load.ceiling import Caller
from benchmarks.load.http import Spec
from benchmarks.load.outcomes import Outcome
from benchmarks.load.schedule import Arrivals, Schedule
from benchmarks.load.traffic import Load, Traffic, over_time, stages
from benchmarks.store import append_lines, read_lines


@settings(deadline=None, max_examples=40)
@given(st.floats(1, 2000), st.floats(0.5, 5), st.sampled_from(["uniform", "poisson"]))
def test_every_message_has_its_time_beforehand_and_in_order(
    rate: float, seconds: float, arrivals: Arrivals
) -> None:
    times = Schedule(rate, seconds, arrivals).times()
    assert len(times) == max(1, round(rate * seconds))
    assert times[0] == 0
    assert (np.diff(times) >= 0).all()


def test_the_same_seed_sends_at_the_same_times_and_another_does_not() -> None:
    one, same, other = (Schedule(100, 2, "poisson", seed).times() for seed in (7, 7, 8))
    assert (one == same).all()
    assert (one != other).any()


def test_poisson_arrivals_come_at_the_rate_but_not_evenly() -> None:
    times = Schedule(1000, 20, "poisson", 1).times()
    assert len(times) / times[-1] == pytest.approx(1000, rel=0.05)
    assert np.diff(times).std() == pytest.approx(1 / 1000, rel=0.05)


def _traffic(arrived: list[float], unsent: frozenset[int] = frozenset()) -> Traffic:
    """Ten messages a second for two seconds."""
    load = Load(10.0, 2.0, warmup=1.0)
    intended = Schedule(10.0, 2.0).times()
    timing = {"queued": 5.0, "routed": 7.0, "model": 20.0, "total": 40.0}
    outcomes = {
        number: Outcome(100.0 + at, 0, "ok", timing, 400)
        for number, at in enumerate(arrived)
        if not np.isnan(at)
    }
    return Traffic(load, 100.0, intended, np.asarray(arrived), outcomes, 0, unsent, {"failed": []}, {})


def test_latency_counts_from_the_intended_time_so_that_a_pause_shows_in_every_message_it_held_up() -> None:
    intended = Schedule(10.0, 2.0).times()
    stalled = np.maximum(intended + 0.05, 1.9)  # nothing came back until 1.9 s
    found = _traffic(stalled.tolist()).latencies
    assert len(found) == 10
    assert found.max() == pytest.approx(900)
    assert np.median(found) > 400


def test_what_warms_up_does_not_count() -> None:
    arrived = [at + (5.0 if at < 1 else 0.01) for at in Schedule(10.0, 2.0).times()]
    assert _traffic(arrived).latencies.max() == pytest.approx(10)


def test_what_a_warm_up_left_behind_is_no_rate_that_anybody_offered() -> None:
    late = [
        at + 0.9 for at in Schedule(10.0, 2.0).times()
    ]  # nine of the first ten come in the second that counts
    late[10:] = [at + 0.01 for at in Schedule(10.0, 2.0).times()[10:]]
    assert _traffic(late).achieved() == pytest.approx(10)


def test_accepted_without_an_outcome_is_lost_and_what_the_broker_refused_is_not() -> None:
    arrived = [at + 0.01 for at in Schedule(10.0, 2.0).times()]
    arrived[4] = arrived[9] = float("nan")
    assert _traffic(arrived).lost == 2
    assert _traffic(arrived, unsent=frozenset({4})).lost == 1


def test_the_stages_add_up_to_the_whole() -> None:
    arrived = [at + 0.1 for at in Schedule(10.0, 2.0).times()]
    found = stages(_traffic(arrived))
    assert found["worker"]["mean"] == pytest.approx(8)
    assert found["publish"]["mean"] == pytest.approx(60)
    assert sum(stage["mean"] for stage in found.values()) == pytest.approx(100)


def _calls(finished: list[float], timings: object) -> Calls:
    """Ten calls of waiting users, one every tenth of a second."""
    spec = Spec("http://127.0.0.1:1", "{}", 0.0, 1.0, "", users=1)
    intended = np.arange(10) / 10
    status = np.full(10, 200.0)
    return Calls(spec, 0.0, intended, np.asarray(finished), status, np.asarray(timings), {})


def test_the_stages_of_calls_add_up_to_the_whole_and_answers_that_tell_nothing_are_left_out() -> None:
    timings = [[5.0, 7.0, 20.0, 40.0]] * 9 + [[np.nan] * 4]
    found = _calls([at / 10 + 0.1 for at in range(9)] + [9.0], timings).summary()["stages_ms"]
    assert found["worker"]["mean"] == pytest.approx(8)
    assert sum(stage["mean"] for stage in found.values()) == pytest.approx(100)


def test_answers_that_take_longer_than_the_load_are_a_rate_too() -> None:
    slow = _calls([2.0] * 5 + [4.0] * 5, np.empty((0, 4)))
    assert slow.achieved() == 0
    assert slow.answered(0.0) == pytest.approx(10 / 4)


class _Pieces(asyncio.Transport):
    """Counts what is sent."""

    def __init__(self) -> None:
        self.sent = 0

    def write(self, data: object) -> None:
        self.sent += 1


def test_an_answer_that_comes_in_two_parts_is_one_answer_and_asks_once_more() -> None:
    caller, wire = Caller(b"request"), _Pieces()
    caller.connection_made(wire)
    answer = b"HTTP/1.1 200 X\r\nContent-Length: 4\r\n\r\nbody"
    for data in (answer, answer[:-2], answer[-2:], answer[:-1], answer[-1:]):
        caller.data_received(data)
    assert caller.answers == 3
    assert wire.sent == 1 + 3


def test_outcomes_are_counted_in_the_second_in_which_they_came() -> None:
    arrived = [1.5] * 20
    rows = over_time(_traffic(arrived))
    assert [row["outcomes"] for row in rows] == [0, 20]


def test_a_rate_is_told_from_after_the_warm_up() -> None:
    slow_then_fast = [number / 10 for number in range(10)] + [1 + number / 1000 for number in range(3000)]
    found = rate_of(slow_then_fast, warmup=1.0)
    assert found is not None
    assert found.per_second == pytest.approx(1000, rel=0.01)


def test_what_was_over_before_the_warm_up_is_told_from_the_first_tenth() -> None:
    found = rate_of([number / 1000 for number in range(1000)], warmup=1.0)
    assert found is not None
    assert found.per_second == pytest.approx(1000, rel=0.01)
    assert found.counted == pytest.approx(900, abs=2)


def test_too_few_responses_are_no_rate() -> None:
    assert rate_of([0.1] * 5, warmup=1.0) is None
    assert rate_of([0.1] * 500, warmup=1.0) is None


def test_a_last_line_that_a_kill_cut_off_is_left_out(tmp_path: Path) -> None:
    path = tmp_path / "samples.ndjson"
    append_lines(path, [{"at": 1}, {"at": 2}])
    with path.open("ab") as file:
        file.write(b'{"at": 3, "rss')
    assert list(read_lines(path)) == [{"at": 1}, {"at": 2}]
