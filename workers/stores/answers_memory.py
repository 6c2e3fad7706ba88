"""Gateways' answers in this process's memory: for tests, and for one gateway without Redis."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from workers.core.clock import Clock, SystemClock
from workers.core.ports import Kept

_OVERHEAD = 200  # bytes of an entry beside key and answer, roughly


@dataclass(slots=True)
class _Entry:
    kept: Kept
    until: float
    size: int


class MemoryAnswerStore:
    """See `core.ports.AnswerStore`. `keep` in seconds; beyond `size` bytes the oldest go first."""

    def __init__(self, *, keep: float, size: int, clock: Clock | None = None) -> None:
        self._keep = keep
        self._size = size
        self._clock = clock or SystemClock()
        self._entries: dict[str, _Entry] = {}  # the oldest first
        self._held = 0

    async def begin(self, key: str, fingerprint: bytes) -> Kept | None:
        """See `AnswerStore`."""
        known = self._live(key)
        if known is None:
            self._set(key, Kept(fingerprint, None))
        return known

    async def put(self, answers: Mapping[str, bytes]) -> None:
        """See `AnswerStore`."""
        for key, answer in answers.items():
            known = self._live(key)
            self._set(key, Kept(known.fingerprint if known is not None else b"", answer))

    async def get(self, keys: Sequence[str]) -> Sequence[Kept | None]:
        """See `AnswerStore`."""
        return [self._live(key) for key in keys]

    async def close(self) -> None:
        """See `AnswerStore`."""

    def _live(self, key: str) -> Kept | None:
        entry = self._entries.get(key)
        return entry.kept if entry is not None and entry.until > self._clock.monotonic() else None

    def _set(self, key: str, kept: Kept) -> None:
        now = self._clock.monotonic()
        self._drop(key)
        size = _OVERHEAD + len(key) + len(kept.answer or b"")
        self._entries[key] = _Entry(kept, now + self._keep, size)
        self._held += size
        while self._entries:
            oldest = next(iter(self._entries))
            if self._held <= self._size and self._entries[oldest].until > now:
                return
            self._drop(oldest)

    def _drop(self, key: str) -> None:
        entry = self._entries.pop(key, None)
        if entry is not None:
            self._held -= entry.size
