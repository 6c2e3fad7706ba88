"""Stuck means: lag, and no offset moves."""

from workers.core.records import TopicPartition
from workers.router.progress import Progress, Standing

HERE, THERE = TopicPartition("t", 0), TopicPartition("t", 1)


def test_a_partition_with_lag_that_does_not_move_is_stuck_after_its_time() -> None:
    progress = Progress(stuck_after=60)
    assert progress.update({HERE: Standing(5, 0, 9), THERE: Standing(9, 0, 9)}, now=0) == []
    assert progress.update({HERE: Standing(5, 0, 9), THERE: Standing(9, 0, 9)}, now=59) == []
    assert progress.update({HERE: Standing(5, 0, 9), THERE: Standing(9, 0, 9)}, now=60) == [HERE]


def test_moving_on_or_having_nothing_to_do_is_progress() -> None:
    progress = Progress(stuck_after=60)
    for now in range(0, 600, 30):
        assert progress.update({HERE: Standing(now, 0, 1000), THERE: Standing(7, 0, 7)}, now) == []


def test_an_idle_partition_has_its_full_time_when_messages_come() -> None:
    progress = Progress(stuck_after=60)
    progress.update({HERE: Standing(5, 0, 5)}, now=0)
    progress.update({HERE: Standing(5, 0, 5)}, now=1000)
    assert progress.update({HERE: Standing(5, 0, 6)}, now=1059) == []
    assert progress.update({HERE: Standing(5, 0, 6)}, now=1060) == [HERE]


def test_a_partition_never_read_counts_from_the_beginning_of_its_log() -> None:
    assert Standing(None, 100, 100).lag == 0
    assert Standing(None, 100, 103).lag == 3
    progress = Progress(stuck_after=60)
    progress.update({HERE: Standing(None, 0, 3)}, now=0)
    assert progress.update({HERE: Standing(None, 0, 3)}, now=60) == [HERE]


def test_a_partition_that_left_and_came_back_starts_anew() -> None:
    progress = Progress(stuck_after=60)
    progress.update({HERE: Standing(5, 0, 9)}, now=0)
    progress.update({}, now=30)
    assert progress.update({HERE: Standing(5, 0, 9)}, now=70) == []
