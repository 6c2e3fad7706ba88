"""When a process that died is started again: exponential back-off, forgotten after a healthy while."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class RestartPolicy:
    """Seconds: the first wait, the longest, and how long a process must have run for its past to be forgotten."""

    initial: float = 0.5
    multiplier: float = 2.0
    longest: float = 30.0
    healthy_after: float = 30.0

    def delay(self, failures: int) -> float:
        """The wait after so many failures in a row, at least one."""
        wait = self.initial
        for _ in range(failures - 1):
            wait *= self.multiplier
            if wait >= self.longest:
                break
        return min(wait, self.longest)


class Restarts:
    """The failures of one process."""

    def __init__(self, policy: RestartPolicy) -> None:
        self._policy = policy
        self.in_a_row = 0

    def died(self, ran_for: float) -> float:
        """It died after `ran_for` seconds; returns how long to wait before it is started again."""
        healthy = ran_for >= self._policy.healthy_after
        self.in_a_row = 1 if healthy else self.in_a_row + 1
        return self._policy.delay(self.in_a_row)
