"""Outcomes in this process's memory: for tests, and for one worker without Redis."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from workers.core.clock import Clock, SystemClock
from workers.core.ports import Busy, Claim, Claimed, Recorded, Recording


@dataclass(slots=True)
class _Entry:
    token: int
    outcome: bytes | None
    until: float


class MemoryOutcomeStore:
    """See `core.ports.OutcomeStore`. `window` and `lease` in seconds; `limit` entries, the oldest go first."""

    def __init__(
        self, *, window: float, lease: float, limit: int = 100_000, clock: Clock | None = None
    ) -> None:
        self._window = window
        self._lease = lease
        self._limit = limit
        self._clock = clock or SystemClock()
        self._entries: dict[str, _Entry] = {}
        self._token = 0

    async def claim(self, key: str) -> Claim:
        """See `OutcomeStore`."""
        now = self._clock.monotonic()
        entry = self._live(key, now)
        if entry is None:
            self._token += 1
            self._put(key, _Entry(self._token, None, now + self._lease))
            return Claimed(self._token)
        if entry.outcome is not None:
            return Recorded(entry.outcome)
        return Busy(entry.until - now)

    async def claim_all(self, keys: Sequence[str]) -> Sequence[Claim]:
        """See `OutcomeStore`."""
        return [await self.claim(key) for key in keys]

    async def renew(self, leases: Mapping[str, int]) -> frozenset[str]:
        """See `OutcomeStore`."""
        now = self._clock.monotonic()
        gone = set()
        for key, token in leases.items():
            entry = self._live(key, now)
            if entry is None or entry.token != token or entry.outcome is not None:
                gone.add(key)
            else:
                entry.until = now + self._lease
        return frozenset(gone)

    async def record(self, key: str, token: int, outcome: bytes) -> bool:
        """See `OutcomeStore`."""
        now = self._clock.monotonic()
        entry = self._live(key, now)
        if entry is not None and (entry.token != token or entry.outcome is not None):
            return False
        self._put(key, _Entry(token, outcome, now + self._window))
        return True

    async def record_all(self, recordings: Sequence[Recording]) -> Sequence[bool]:
        """See `OutcomeStore`."""
        return [await self.record(*recording) for recording in recordings]

    async def release(self, key: str, token: int) -> None:
        """See `OutcomeStore`."""
        entry = self._entries.get(key)
        if entry is not None and entry.token == token and entry.outcome is None:
            del self._entries[key]

    async def close(self) -> None:
        """See `OutcomeStore`."""

    def _live(self, key: str, now: float) -> _Entry | None:
        entry = self._entries.get(key)
        return entry if entry is not None and entry.until > now else None

    def _put(self, key: str, entry: _Entry) -> None:
        self._entries.pop(key, None)
        self._entries[key] = entry
        while len(self._entries) > self._limit:
            del self._entries[next(iter(self._entries))]
