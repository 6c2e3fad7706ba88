"""Stuck means: lag, and no offset moves."""

from workers.core.records import TopicPartition
from workers.router.progress import Progress, Standing

HERE, THERE = TopicPartition("t", 0), TopicPartition("t", 1)


def test_a_partition_with_lag_that_does_not_move_is_stuck_after_its_time() -> None:
    progress = Progress(stuck_after=60)
    assert progress.update({HERE: Standing(5, 9), THERE: Standing(9, 9)}, now=0) == []
    assert progress.update({HERE: Standing(5, 9), THERE: Standing(9, 9)}, now=59) == []
    assert progress.update({HERE: Standing(5, 9), THERE: Standing(9, 9)}, now=60) == [HERE]


def test_moving_on_or_having_nothing_to_do_is_progress() -> None:
    progress = Progress(stuck_after=60)
    for now in range(0, 600, 30):
        assert progress.update({HERE: Standing(now, 1000), THERE: Standing(7, 7)}, now) == []


def test_an_idle_partition_has_its_full_time_when_messages_come() -> None:
    progress = Progress(stuck_after=60)
    progress.update({HERE: Standing(5, 5)}, now=0)
    progress.update({HERE: Standing(5, 5)}, now=1000)
    assert progress.update({HERE: Standing(5, 6)}, now=1059) == []
    assert progress.update({HERE: Standing(5, 6)}, now=1060) == [HERE]


def test_a_partition_where_the_group_has_never_been_counts_from_the_beginning() -> None:
    assert Standing(None, 0).lag == 0
    assert Standing(None, 3).lag == 3
    progress = Progress(stuck_after=60)
    progress.update({HERE: Standing(None, 3)}, now=0)
    assert progress.update({HERE: Standing(None, 3)}, now=60) == [HERE]


def test_what_waits_for_its_turn_is_not_stuck() -> None:
    progress = Progress(stuck_after=60)
    for now in range(0, 600, 30):
        assert progress.update({HERE: Standing(5, 9, waits=True)}, now) == []
    assert progress.update({HERE: Standing(5, 9)}, now=640) == [HERE]


def test_time_in_which_nobody_could_say_is_nobodys() -> None:
    progress = Progress(stuck_after=60)
    progress.update({HERE: Standing(5, 9)}, now=0)
    progress.update({HERE: Standing(5, 9)}, now=30)
    for now in range(40, 300, 10):
        assert progress.update(None, now) == []
    assert progress.update({HERE: Standing(5, 9)}, now=300) == []
    assert progress.update({HERE: Standing(5, 9)}, now=330) == [HERE]


def test_a_partition_that_left_and_came_back_starts_anew() -> None:
    progress = Progress(stuck_after=60)
    progress.update({HERE: Standing(5, 9)}, now=0)
    progress.update({}, now=30)
    assert progress.update({HERE: Standing(5, 9)}, now=70) == []
