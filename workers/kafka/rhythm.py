"""How long a consumer gathers records: a wake of every thread and process on a message's way costs more than a message.

At 1,000 messages a second a millisecond's wait takes a sixth of a worker's CPU away, and on a machine that is full
nothing gets slower by it; a message on its own is handed over at once.
"""

from workers.core.clock import Clock, SystemClock

GATHER = 0.001  # seconds
_CLOSELY = 0.005  # seconds after a batch in which another one comes closely behind it


class Rhythm:
    """Of the batches of one consumer."""

    def __init__(self, clock: Clock | None = None) -> None:
        self._clock = clock or SystemClock()
        self._handed_over = float("-inf")

    @property
    def gathering(self) -> float:
        """Seconds for which the batch that has begun is gathered."""
        closely = self._clock.monotonic() - self._handed_over < _CLOSELY
        return GATHER if closely else 0.0

    def handed_over(self) -> None:
        """A batch was handed over."""
        self._handed_over = self._clock.monotonic()
