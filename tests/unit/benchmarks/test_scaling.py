"""When more worker processes are measured, and what is said about them."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import pytest
from confluent_kafka import KafkaError, KafkaException

from benchmarks.load import members
from benchmarks.load.members import Shares, shared_out, until_shared_out
from benchmarks.sections import scaling
from benchmarks.targets import Reached, reached
from workers.core.errors import UnreachableError


@pytest.mark.parametrize(
    ("found", "whole"),
    [
        ({"a": [0, 1], "b": [2, 3]}, True),
        ({"a": [0, 1, 2, 3]}, False),  # the other has not joined
        ({"a": [0, 1, 2, 3], "b": []}, False),  # it has, and waits
        ({"a": [0, 1], "b": [2]}, False),  # given up by one, and not yet with another
        ({"a": [0, 1], "b": [1, 2]}, False),
        ({"a": [0, 1], "b": [2, 3], "c": []}, False),  # somebody else's member
    ],
)
def test_partitions_are_shared_out_when_every_worker_has_some_and_all_are_with_somebody(
    found: Shares, whole: bool
) -> None:
    assert shared_out(found, members=2, partitions=4) is whole


def _looks(answers: Sequence[Shares | Exception]) -> Callable[[], Shares]:
    """These answers, and the last one ever after."""
    left: Iterator[Shares | Exception] = iter(answers)

    def look() -> Shares:
        answer = next(left, answers[-1])
        if isinstance(answer, Exception):
            raise answer
        return answer

    return look


@pytest.fixture(autouse=True)
def _no_pause(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(members, "_AGAIN", 0.0)


def test_what_the_group_says_once_is_not_believed_before_it_says_it_again() -> None:
    asked = 0
    moving, still = {"a": [0], "b": [1]}, {"a": [1], "b": [0]}
    answers = _looks([moving, KafkaException(KafkaError(KafkaError._TRANSPORT)), moving, still, still])

    def look() -> Shares:
        nonlocal asked
        asked += 1
        return answers()

    assert until_shared_out(look, 2, 2, within=60.0) == still
    assert asked == 5


def test_partitions_that_nobody_shares_out_end_the_measurement_with_who_had_what() -> None:
    with pytest.raises(UnreachableError, match=r"among 2 members .*\[\[\], \[0, 1\]\]"):
        until_shared_out(_looks([{"a": [0, 1], "b": []}]), 2, 2, within=0.0)


@pytest.mark.parametrize("plan", [scaling.Plan(), scaling.SHORT])
def test_both_forms_measure_the_goal_and_what_leaves_the_machine_room(plan: scaling.Plan) -> None:
    assert set(plan.in_flight) == {1000, 100}
    assert tuple(plan.workers) == (1, 2, 4)


def _row(in_flight: int, workers: int, of_linear: float) -> Mapping[str, Any]:
    rate = in_flight * 5 * workers * of_linear
    return {"in_flight": in_flight, "workers": workers, "rate": rate, "of_linear": of_linear}


def _goal(rows: Sequence[Mapping[str, Any]]) -> Reached:
    (row,) = (row for row in reached({"scaling": {"results": {"rows": rows}}}) if "2, 4 workers" in row.what)
    return row


_FEW = [_row(100, 1, 1.0), _row(100, 2, 0.96), _row(100, 4, 0.92)]


@pytest.mark.parametrize(("share", "met"), [(0.9, True), (0.46, False)])
def test_the_goal_is_that_of_1000_in_flight_and_both_are_told(share: float, met: bool) -> None:
    found = _goal([_row(1000, 1, 1.0), _row(1000, 2, share), _row(1000, 4, 1.0), *_FEW])
    assert found.met is met
    many, few = found.measured.split("; ")
    assert (
        many
        == f"1,000 in flight: 1: 5,000/s (100%), 2: {10_000 * share:,.0f}/s ({share:.0%}), 4: 20,000/s (100%)"
    )
    assert few == "100 in flight: 1: 500/s (100%), 2: 960/s (96%), 4: 1,840/s (92%)"


def test_100_in_flight_that_scale_do_not_reach_the_goal() -> None:
    assert _goal([_row(1000, 1, 1.0), _row(1000, 2, 0.5), *_FEW]).met is False
    alone = _goal(_FEW)
    assert alone.met is None
    assert alone.measured.startswith("1,000 in flight: not measured; 100 in flight: 1: 500/s")


def test_a_result_from_before_100_were_measured_is_still_read() -> None:
    found = _goal([_row(1000, 1, 1.0), _row(1000, 2, 0.95)])
    assert found.met
    assert found.measured.endswith("; 100 in flight: not measured")


def test_shares_are_of_the_first_number_of_workers_with_as_many_in_flight(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    rates = {(1000, 1): 4000.0, (1000, 2): 4000.0, (100, 1): 500.0, (100, 2): 900.0}
    saved: list[str] = []

    class Kept:
        def save(self, section: str, settings: object, results: object) -> None:
            saved.append(section)

    def one(kafka: object, plan: object, in_flight: int, count: int, say: object) -> dict[str, Any]:
        return {"in_flight": in_flight, "workers": count, "rate": rates[in_flight, count]}

    monkeypatch.setattr(scaling, "one", one)
    plan, nothing = scaling.Plan(workers=(1, 2)), lambda line: None
    found = scaling.scaling(None, plan, Kept(), nothing)  # type: ignore[arg-type]  # neither is used
    assert [row["of_linear"] for row in found["rows"]] == [1.0, 0.5, 1.0, 0.9]
    assert saved == ["scaling"]
