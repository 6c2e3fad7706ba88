"""One deadline for a whole piece of work, passed down instead of a fresh budget a step."""

from dataclasses import dataclass

from workers.core.clock import Clock, SystemClock


@dataclass(frozen=True, slots=True)
class Deadline:
    """A point on the monotonic clock, in seconds."""

    at: float
    clock: Clock

    @classmethod
    def after(cls, seconds: float, clock: Clock | None = None) -> "Deadline":
        """The deadline that lies `seconds` from now."""
        clock = clock or SystemClock()
        return cls(clock.monotonic() + seconds, clock)

    def remaining(self) -> float:
        """Seconds left, never below zero."""
        return max(0.0, self.at - self.clock.monotonic())

    @property
    def expired(self) -> bool:
        """Whether nothing is left."""
        return self.remaining() == 0.0
