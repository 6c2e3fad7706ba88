"""Conversations in Redis, for all workers of a fleet together: a list of turns a session."""

from collections.abc import Awaitable, Sequence
from pathlib import Path
from typing import Any, cast

import redis.asyncio
import redis.exceptions

from workers.core.ports import KeptTurn, SessionBounds
from workers.core.redact import redact
from workers.stores.redis_batch import unreachable

_SCRIPT = Path(__file__).with_name("sessions.lua")
_ID_DIGITS = 32


class RedisSessionStore:
    """See `core.ports.SessionStore`. `timeout` in seconds."""

    def __init__(self, url: str, *, timeout: float = 2.0, prefix: str = "relayfleet:sessions:") -> None:
        self._client = redis.asyncio.from_url(url, socket_timeout=timeout, socket_connect_timeout=timeout)
        self._script = self._client.register_script(_SCRIPT.read_text())
        self._address = redact(url)
        self._prefix = prefix

    async def turns(self, session: str) -> Sequence[KeptTurn]:
        """See `SessionStore`."""
        # The client's types know its synchronous form too.
        asked = cast("Awaitable[list[bytes]]", self._client.lrange(self._prefix + session, 0, -1))
        found = await self._answered(asked)
        return [KeptTurn(turn[:_ID_DIGITS].decode(), turn[_ID_DIGITS:]) for turn in found]

    async def append(self, session: str, turn: KeptTurn, bounds: SessionBounds) -> None:
        """See `SessionStore`."""
        arguments: list[bytes | str | int] = [
            turn.turn_id,
            turn.value,
            bounds.turns,
            bounds.max_bytes,
            int(bounds.ttl * 1000),
        ]
        await self._answered(self._script(keys=[self._prefix + session], args=arguments))

    async def close(self) -> None:
        """See `SessionStore`."""
        await self._client.aclose()

    async def _answered(self, asked: Awaitable[Any]) -> Any:
        try:
            return await asked
        except (redis.exceptions.RedisError, OSError) as error:
            raise unreachable(self._address, error) from error
