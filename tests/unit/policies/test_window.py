"""Counts over a sliding window, held against a list that remembers everything."""

from hypothesis import given
from hypothesis import strategies as st

from workers.policies.window import SlidingWindow


@given(st.lists(st.tuples(st.floats(0, 3), st.booleans(), st.booleans()), max_size=60))
def test_an_event_counts_for_nine_tenths_of_the_window_and_never_longer(
    events: list[tuple[float, bool, bool]],
) -> None:
    window = SlidingWindow(10.0)
    now, kept = 0.0, []
    for wait, bad, slow in events:
        now += wait
        window.add(now, bad=bad, slow=slow)
        kept.append((now, bad, slow))
        certain = [event for event in kept if now - event[0] < 9.0 - 1e-6]
        possible = [event for event in kept if now - event[0] < 10.0 + 1e-6]
        assert len(certain) <= window.total <= len(possible)
        assert sum(event[1] for event in certain) <= window.bad <= sum(event[1] for event in possible)
        assert sum(event[2] for event in certain) <= window.slow <= sum(event[2] for event in possible)


def test_what_is_too_old_goes_without_a_new_event() -> None:
    window = SlidingWindow(10.0)
    window.add(1.0, bad=True)
    window.advance(11.5)
    assert (window.total, window.bad) == (0, 0)
