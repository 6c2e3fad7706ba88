"""Until when a message is worth a call, and whether the time that is left is enough for one."""

from workers.core.clock import Clock

_STEP = 0.05


class UsualTime:
    """How long an answer usually takes: a running median, in seconds.

    It moves a little towards each sample, so one hanging call changes it hardly. Without samples it halves every
    `half_life` seconds: messages that are refused for lack of time bring no samples, and an estimate that stayed
    would refuse for ever.
    """

    def __init__(self, half_life: float = 30.0) -> None:
        self._half_life = half_life
        self._estimate = 0.0
        self._sampled_at = 0.0

    def observe(self, seconds: float, now: float) -> None:
        """Count an answer that took so long; `now` is monotonic."""
        estimate = self._estimate
        if estimate <= 0.0:
            estimate = seconds
        elif seconds > estimate:
            estimate = min(seconds, estimate * (1 + _STEP))
        else:
            estimate = max(seconds, estimate * (1 - _STEP))
        self._estimate = estimate
        self._sampled_at = now

    def current(self, now: float) -> float:
        """The estimate in seconds; 0.0 before the first sample."""
        age = max(0.0, now - self._sampled_at)
        return float(self._estimate * 0.5 ** (age / self._half_life))


def deadline_of(
    timestamp: float, header_ms: int | None, expires_after: float | None, clock: Clock
) -> float | None:
    """The monotonic time after which the message is worth nothing, or None.

    `timestamp` is the envelope's (epoch seconds), `header_ms` the message's own deadline (epoch milliseconds). The
    earlier of the two counts. Wall time is read once, here; from then on a clock that jumps changes nothing.
    """
    ends = []
    if expires_after is not None:
        ends.append(timestamp + expires_after)
    if header_ms is not None:
        ends.append(header_ms / 1000)
    if not ends:
        return None
    return clock.monotonic() + (min(ends) - clock.wall())
