"""Limits and budgets in this process's memory: for tests, and for one worker without Redis."""

from collections.abc import Sequence

from workers.core.clock import Clock, SystemClock
from workers.core.ports import Draw, Drawn

_SLACK = 1e-6  # seconds: what rounding makes of nothing


class MemoryLimitStore:
    """See `core.ports.LimitStore`."""

    def __init__(self, clock: Clock | None = None) -> None:
        self._clock = clock or SystemClock()
        self._full_at: dict[str, float] = {}  # of buckets, epoch seconds
        self._spent: dict[str, tuple[float, float]] = {}  # of budgets: until when it counts, and how much

    async def take(self, draws: Sequence[Draw]) -> Drawn:
        """See `LimitStore`."""
        drawn = await self.look(draws)
        if drawn.which is None:
            await self.add(draws)
        return drawn

    async def look(self, draws: Sequence[Draw]) -> Drawn:
        """See `LimitStore`."""
        now = self._clock.wall()
        waits = [self._wait(draw, now) for draw in draws]
        longest = max(waits, default=0.0)
        return Drawn(longest, waits.index(longest)) if longest > _SLACK else Drawn(0.0, None)

    async def add(self, draws: Sequence[Draw]) -> None:
        """See `LimitStore`."""
        now = self._clock.wall()
        for draw in draws:
            if draw.rate > 0:
                self._full_at[draw.key] = max(now, self._full_at.get(draw.key, now)) + draw.amount / draw.rate
            else:
                _, spent = self._spent.get(draw.key, (0.0, 0.0))
                self._spent = {key: kept for key, kept in self._spent.items() if kept[0] > now}
                self._spent[draw.key] = (draw.ends_at + 1, spent + draw.amount)

    async def close(self) -> None:
        """See `LimitStore`."""

    def _wait(self, draw: Draw, now: float) -> float:
        amount = min(draw.amount, draw.most)  # more than fits at all waits until everything is there
        if draw.rate > 0:
            full_at = max(now, self._full_at.get(draw.key, now))
            return full_at + amount / draw.rate - now - draw.most / draw.rate
        _, spent = self._spent.get(draw.key, (0.0, 0.0))
        return 0.0 if spent + amount <= draw.most else max(0.001, draw.ends_at - now)
