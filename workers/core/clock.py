"""Time as a parameter: durations are monotonic, timestamps are wall time, tests set both."""

import time
from typing import Protocol

LOOP_SLACK = 0.001
"""Seconds that an event loop's clock may run ahead of ours: a timer set for less could fire before its time."""


def milliseconds(seconds: float) -> float:
    """Milliseconds, to the microsecond, of a duration. Rounding to digits takes ten times as long, eight times a message."""
    return int(seconds * 1_000_000 + 0.5) / 1000


class Clock(Protocol):
    """Where time comes from."""

    def monotonic(self) -> float:
        """Seconds that never go back; only differences mean something."""

    def wall(self) -> float:
        """Seconds since the epoch; may jump."""


class SystemClock:
    """The machine's own clock."""

    def monotonic(self) -> float:
        """See `Clock`."""
        return time.monotonic()

    def wall(self) -> float:
        """See `Clock`."""
        return time.time()  # noqa: TID251 - the one place where wall time enters


class ManualClock:
    """A clock that stands still until a test moves it. Both readings move together unless `jump` is used."""

    def __init__(self, wall: float = 1_700_000_000.0) -> None:
        self._monotonic = 0.0
        self._wall = wall

    def monotonic(self) -> float:
        """See `Clock`."""
        return self._monotonic

    def wall(self) -> float:
        """See `Clock`."""
        return self._wall

    def advance(self, seconds: float) -> None:
        """Let time pass."""
        self._monotonic += seconds
        self._wall += seconds

    def jump(self, seconds: float) -> None:
        """Move the wall clock alone, as NTP or an operator would."""
        self._wall += seconds
