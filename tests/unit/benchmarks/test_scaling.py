"""When more worker processes are measured, and what is said about them."""

from collections.abc import Callable, Iterator, Sequence

import pytest
from confluent_kafka import KafkaError, KafkaException

from benchmarks.load import members
from benchmarks.load.members import Shares, shared_out, until_shared_out
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
        until_shared_out(_looks([{"a": [0, 1], "b": []}]), 2, 2, within=0.05)
