"""Cached answers in this process's memory: for tests, and for one worker without Redis."""

from collections.abc import Sequence

from workers.core.clock import Clock, SystemClock
from workers.core.ports import Busy, CacheBounds, Claim, Claimed, Recorded, Recording
from workers.stores.memory import MemoryOutcomeStore


class MemoryAnswerCache:
    """See `core.ports.AnswerCache`. `lease` in seconds."""

    def __init__(self, bounds: CacheBounds, *, lease: float, clock: Clock | None = None) -> None:
        self._bounds = bounds
        self._clock = clock or SystemClock()
        self._leases = MemoryOutcomeStore(window=lease, lease=lease, clock=self._clock)
        self._answers: dict[str, tuple[float, bytes]] = {}  # until when, and what; the oldest first
        self._bytes = 0
        # The lease's own methods are the cache's too.
        self.renew = self._leases.renew
        self.release = self._leases.release

    async def claim(self, key: str) -> Claim:
        """See `AnswerCache`."""
        self._trim()
        kept = self._answers.get(key)
        if kept is not None:
            return Recorded(kept[1])
        claim = await self._leases.claim(key)
        assert isinstance(claim, Claimed | Busy)  # noqa: S101 - nothing is ever recorded there
        return claim

    async def claim_all(self, keys: Sequence[str]) -> Sequence[Claim]:
        """See `AnswerCache`."""
        return [await self.claim(key) for key in keys]

    async def record(self, key: str, token: int, outcome: bytes) -> bool:
        """See `AnswerCache`."""
        claim = await self._leases.claim(key)
        if key in self._answers or (isinstance(claim, Busy) and await self._leases.renew({key: token})):
            return False
        await self._leases.release(key, claim.token if isinstance(claim, Claimed) else token)
        await self.replace(key, outcome)
        return True

    async def record_all(self, recordings: Sequence[Recording]) -> Sequence[bool]:
        """See `AnswerCache`."""
        return [await self.record(*recording) for recording in recordings]

    async def replace(self, key: str, outcome: bytes) -> None:
        """See `AnswerCache`."""
        self._drop(key)
        self._answers[key] = (self._clock.monotonic() + self._bounds.ttl, outcome)
        self._bytes += len(outcome)
        self._trim()

    async def close(self) -> None:
        """See `AnswerCache`."""

    def _trim(self) -> None:
        now = self._clock.monotonic()
        while self._answers:
            oldest = next(iter(self._answers))
            full = len(self._answers) > self._bounds.entries or self._bytes > self._bounds.max_bytes
            if not full and self._answers[oldest][0] > now:
                return
            self._drop(oldest)

    def _drop(self, key: str) -> None:
        kept = self._answers.pop(key, None)
        if kept is not None:
            self._bytes -= len(kept[1])
