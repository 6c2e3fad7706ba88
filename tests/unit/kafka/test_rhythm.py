"""Which batches are gathered for a moment."""

from workers.core.clock import ManualClock
from workers.kafka.rhythm import GATHER, Rhythm


def test_a_batch_waits_for_more_where_it_comes_closely_behind_another() -> None:
    clock = ManualClock()
    rhythm = Rhythm(clock)
    assert rhythm.gathering == 0.0  # nothing came before
    rhythm.handed_over()
    clock.advance(0.004)
    assert rhythm.gathering == GATHER
    clock.advance(0.002)
    assert rhythm.gathering == 0.0  # alone again
