from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, invariant, rule

from workers.core.records import Position
from workers.policies.finished import decode
from workers.policies.offsets import OffsetTracker


def test_nothing_consumed_means_nothing_to_commit() -> None:
    assert OffsetTracker().position() is None


def test_the_position_stays_at_the_oldest_unfinished_record_and_names_the_finished_behind_it() -> None:
    tracker = OffsetTracker()
    for offset in (10, 11, 12, 15):
        assert tracker.start(offset)
    tracker.finish(11)
    tracker.finish(15)
    position = tracker.position()
    assert position is not None
    assert position.offset == 10
    assert decode(10, position.metadata) == {11, 15}
    assert (tracker.in_flight, tracker.span) == (2, 4)


def test_gaps_in_the_log_do_not_hold_the_position_back() -> None:
    tracker = OffsetTracker()
    for offset in (3, 8, 20):
        tracker.start(offset)
        tracker.finish(offset)
    assert tracker.position() == Position(21)
    assert tracker.span == 0


def test_a_restart_skips_what_the_metadata_names_even_before_it_is_consumed_again() -> None:
    tracker = OffsetTracker(finished={6, 9})
    assert tracker.start(5)
    tracker.finish(5)
    position = tracker.position()
    assert position is not None
    assert decode(position.offset, position.metadata) == {6, 9}
    assert not tracker.start(6)
    assert tracker.start(7)
    position = tracker.position()
    assert position is not None
    assert position.offset == 7


def test_a_record_delivered_twice_is_done_once() -> None:
    tracker = OffsetTracker()
    assert tracker.start(1)
    assert not tracker.start(1)
    tracker.finish(1)
    assert not tracker.start(1)


def test_a_log_that_went_back_is_done_again_and_holds_the_position() -> None:
    tracker = OffsetTracker()
    for offset in (1, 2):
        tracker.start(offset)
        tracker.finish(offset)
    assert tracker.position() == Position(3)
    assert tracker.start(1)
    held = tracker.position()
    assert held is not None
    assert held.offset == 1
    tracker.finish(1)
    assert tracker.position() == Position(3)


class Partition(RuleBasedStateMachine):
    """A log with gaps, a group's commit, and members that come and go; every record must be finished some time."""

    consumed = Bundle("consumed")

    def __init__(self) -> None:
        super().__init__()
        self.log: list[int] = []  # every offset that holds a record
        self.end = 0
        self.cursor = 0
        self.committed = Position(0)
        self.finished: set[int] = set()
        self.tracker = OffsetTracker()

    @rule(gap=st.integers(0, 3))
    def append(self, gap: int) -> None:
        self.end += gap
        self.log.append(self.end)
        self.end += 1

    @rule(target=consumed)
    def consume(self) -> int:
        ahead = [offset for offset in self.log if offset >= self.cursor]
        if not ahead:
            return -1
        self.cursor = ahead[0] + 1
        if not self.tracker.start(ahead[0]):
            assert ahead[0] in self.finished, "a record was skipped that nobody finished"
        return ahead[0]

    @rule(offset=consumed)
    def consume_again(self, offset: int) -> None:
        unfinished = offset not in self.finished
        if offset < 0 or offset >= self.cursor:
            return
        if self.tracker.start(offset) and unfinished:
            assert offset < self.committed.offset or offset in self.log

    @rule(offset=consumed)
    def finish(self, offset: int) -> None:
        if 0 <= offset < self.cursor:
            self.tracker.finish(offset)
            self.finished.add(offset)

    @rule()
    def commit(self) -> None:
        self.committed = self.tracker.position() or self.committed

    @rule()
    def revoke_and_reassign(self) -> None:
        self.commit()
        self.crash()

    @rule()
    def crash(self) -> None:
        known = decode(self.committed.offset, self.committed.metadata)
        assert known <= self.finished
        self.cursor = self.committed.offset
        self.tracker = OffsetTracker(known)

    @invariant()
    def nothing_unfinished_lies_below_the_position(self) -> None:
        for position in (self.tracker.position(), self.committed):
            if position is not None:
                assert all(offset in self.finished for offset in self.log if offset < position.offset)
                assert decode(position.offset, position.metadata) <= self.finished

    def teardown(self) -> None:
        for offset in [offset for offset in self.log if offset >= self.cursor]:
            self.tracker.start(offset)
        for offset in self.log:
            self.tracker.finish(offset)
        position = self.tracker.position()
        if self.log:
            assert position is None or position.offset == self.log[-1] + 1


TestPartition = Partition.TestCase
