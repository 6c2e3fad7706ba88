"""Outcomes in Redis, shared by all workers of a fleet.

One key an id: `L<token>` while somebody holds the lease, `O<outcome>` once it is answered. Under load a round trip
serves hundreds of ids.
"""

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import redis.asyncio

from workers.core.ports import Busy, Claim, Claimed, Recorded
from workers.core.redact import redact
from workers.stores.redis_batch import Batched

_SCRIPT = Path(__file__).with_name("outcomes.lua")


@dataclass(frozen=True, slots=True)
class _Operation:
    name: str  # claim, renew, record or release
    key: str
    token: int = 0
    outcome: bytes = b""


class RedisOutcomeStore:
    """See `core.ports.OutcomeStore`. `window`, `lease` and `timeout` in seconds."""

    def __init__(
        self, url: str, *, window: float, lease: float, timeout: float = 2.0, prefix: str = "relayfleet:once:"
    ) -> None:
        self._client = redis.asyncio.from_url(url, socket_timeout=timeout, socket_connect_timeout=timeout)
        self._script = self._client.register_script(_SCRIPT.read_text())
        self._window_ms = int(window * 1000)
        self._lease_ms = int(lease * 1000)
        self._prefix = prefix
        self._batched = Batched(self._run, redact(url))

    async def claim(self, key: str) -> Claim:
        """See `OutcomeStore`."""
        kind, value = await self._batched.do(_Operation("claim", key))
        if kind == b"claimed":
            return Claimed(int(value))
        if kind == b"recorded":
            return Recorded(value)
        return Busy(max(0.0, int(value) / 1000))

    async def renew(self, leases: Mapping[str, int]) -> frozenset[str]:
        """See `OutcomeStore`."""
        held = await asyncio.gather(
            *(self._batched.do(_Operation("renew", key, token)) for key, token in leases.items())
        )
        return frozenset(key for key, still in zip(leases, held, strict=True) if not still)

    async def record(self, key: str, token: int, outcome: bytes) -> bool:
        """See `OutcomeStore`."""
        return bool(await self._batched.do(_Operation("record", key, token, outcome)))

    async def release(self, key: str, token: int) -> None:
        """See `OutcomeStore`."""
        await self._batched.do(_Operation("release", key, token))

    async def close(self) -> None:
        """See `OutcomeStore`."""
        await self._batched.close()
        await self._client.aclose()

    async def _run(self, operations: Sequence[_Operation]) -> list[Any]:
        arguments: list[bytes | str | int] = [self._lease_ms, self._window_ms]
        for operation in operations:
            arguments += (operation.name, operation.token, operation.outcome)
        keys = [f"{self._prefix}token", *(f"{self._prefix}id:{operation.key}" for operation in operations)]
        results: list[Any] = await self._script(keys=keys, args=arguments)
        return results
