"""What a load process is asked to do, and when its questions are due."""

import asyncio
import sys
import time
from collections.abc import AsyncIterator
from dataclasses import asdict, dataclass

import orjson

from benchmarks.load.schedule import Arrivals, Schedule


@dataclass(frozen=True, slots=True)
class LoadSpec:
    """`start` is a moment of the monotonic clock; without `rate` there are `users`.

    A kind of load adds what it alone needs, in the module that does it.
    """

    url: str
    body: str
    start: float
    seconds: float
    out: str  # the file for the raw numbers
    rate: float = 0.0
    users: int = 0
    arrivals: Arrivals = "uniform"
    seed: int = 1

    def command(self) -> list[str]:
        """The process that does it."""
        return [sys.executable, "-m", type(self).__module__, orjson.dumps(asdict(self)).decode()]

    def now(self) -> float:
        """Seconds since the start."""
        return time.monotonic() - self.start

    async def until(self, due: float) -> None:
        """Wait until so many seconds since the start, if they are not over."""
        if (ahead := due - self.now()) > 0:
            await asyncio.sleep(ahead)

    async def times(self) -> AsyncIterator[float]:
        """Of an open loop: when each question is meant to be asked, each time at that time or, if that is over, at once."""
        for due in Schedule(self.rate, self.seconds, self.arrivals, self.seed).times().tolist():
            await self.until(due)
            yield due
