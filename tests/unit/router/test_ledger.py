"""Offsets: nothing in flight is ever passed over."""

from random import Random

from hypothesis import given
from hypothesis import strategies as st

from workers.router.ledger import Ledger, Slice


def test_a_fresh_group_commits_nothing_past_the_first_slice_in_flight() -> None:
    ledger = Ledger()
    first, second = Slice(100, 101), Slice(101, 103)
    ledger.taken(first)
    ledger.taken(second)
    ledger.finished(second)
    assert ledger.committable is None
    ledger.finished(first)
    assert ledger.committable == 103


def test_gaps_in_the_log_do_not_hold_the_commit_back() -> None:
    ledger = Ledger()
    for piece in (Slice(0, 10), Slice(500, 501)):
        ledger.taken(piece)
        ledger.finished(piece)
    assert ledger.committable == 501
    assert ledger.in_flight == 0


def test_going_back_forgets_what_was_in_flight() -> None:
    ledger = Ledger()
    dropped, again = Slice(10, 20), Slice(10, 15)
    ledger.taken(dropped)
    ledger.taken(again)
    ledger.finished(dropped)
    assert ledger.committable is None
    ledger.finished(again)
    assert ledger.committable == 15


@given(st.lists(st.tuples(st.integers(1, 5), st.integers(0, 3)), min_size=1, max_size=30), st.randoms())
def test_the_commit_is_the_end_of_the_finished_prefix_in_any_order(
    shapes: list[tuple[int, int]], random: Random
) -> None:
    ledger, pieces, offset = Ledger(), [], 7
    for length, gap in shapes:
        pieces.append(Slice(offset + gap, offset + gap + length))
        offset = pieces[-1].next
        ledger.taken(pieces[-1])
    for piece in random.sample(pieces, len(pieces)):
        ledger.finished(piece)
        unfinished = [each.first for each in pieces if not each.finished]
        prefix = [each.next for each in pieces if not unfinished or each.next <= unfinished[0]]
        assert ledger.committable == (prefix[-1] if prefix else None)
    assert ledger.committable == pieces[-1].next
