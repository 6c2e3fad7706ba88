"""When each message of an open loop is meant to be sent: fixed beforehand, whatever happens to earlier ones.

Latency counts from these times. A generator that waited for answers, or counted from when it got round to sending,
would leave out just the waits that users would have had (coordinated omission).
"""

from dataclasses import dataclass
from typing import Literal

import numpy as np

from benchmarks.figures import Floats

Arrivals = Literal["uniform", "poisson"]


@dataclass(frozen=True, slots=True)
class Schedule:
    """So many messages a second, for so many seconds. The same seed gives the same times."""

    rate: float
    seconds: float
    arrivals: Arrivals = "uniform"
    seed: int = 1

    @property
    def count(self) -> int:
        """How many messages."""
        return max(1, round(self.rate * self.seconds))

    def times(self) -> Floats:
        """Seconds from the start, one a message, ascending."""
        if self.arrivals == "uniform":
            return np.arange(self.count, dtype=np.float64) / self.rate
        gaps = np.random.default_rng(self.seed).exponential(1 / self.rate, self.count)
        times: Floats = np.cumsum(gaps) - gaps[0]
        return times
