"""Conversations in this process's memory: for tests, and for one worker without Redis."""

from collections.abc import Sequence
from dataclasses import dataclass, field

from workers.core.clock import Clock, SystemClock
from workers.core.ports import KeptTurn, SessionBounds


@dataclass(slots=True)
class _Session:
    turns: list[KeptTurn] = field(default_factory=list)
    until: float = 0.0


class MemorySessionStore:
    """See `core.ports.SessionStore`. At most `limit` sessions; the one that was quiet for longest goes first."""

    def __init__(self, *, limit: int = 10_000, clock: Clock | None = None) -> None:
        self._limit = limit
        self._clock = clock or SystemClock()
        self._sessions: dict[str, _Session] = {}

    async def turns(self, session: str) -> Sequence[KeptTurn]:
        """See `SessionStore`."""
        return tuple(self._live(session).turns)

    async def append(self, session: str, turn: KeptTurn, bounds: SessionBounds) -> None:
        """See `SessionStore`."""
        kept = self._live(session)
        known = next((n for n, other in enumerate(kept.turns) if other.turn_id == turn.turn_id), None)
        if known is None:
            kept.turns.append(turn)
        else:
            kept.turns[known] = turn
        while len(kept.turns) > bounds.turns or sum(len(one.value) for one in kept.turns) > bounds.max_bytes:
            del kept.turns[0]
        kept.until = self._clock.monotonic() + bounds.ttl
        self._sessions.pop(session, None)
        self._sessions[session] = kept
        while len(self._sessions) > self._limit:
            del self._sessions[next(iter(self._sessions))]

    async def close(self) -> None:
        """See `SessionStore`."""

    def _live(self, session: str) -> _Session:
        kept = self._sessions.get(session)
        return kept if kept is not None and kept.until > self._clock.monotonic() else _Session()
