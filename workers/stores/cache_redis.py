"""Cached answers of one target in Redis, shared by all workers of a fleet.

One key a question: `L<token>` while somebody asks it, `O<answer>` once it is answered. The oldest answers go when
there are too many; what has expired is struck off the list at the next answer.
"""

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import redis.asyncio

from workers.core.ports import Busy, CacheBounds, Claim, Claimed, Recorded
from workers.core.redact import redact
from workers.stores.redis_batch import Batched

_SCRIPT = Path(__file__).with_name("cache.lua")


@dataclass(frozen=True, slots=True)
class _Operation:
    name: str  # claim, renew, record, release or replace
    key: str
    token: int = 0
    answer: bytes = b""


class RedisAnswerCache:
    """See `core.ports.AnswerCache`. `lease` and `timeout` in seconds; `prefix` is the target's own."""

    def __init__(
        self, url: str, bounds: CacheBounds, *, lease: float, prefix: str, timeout: float = 2.0
    ) -> None:
        self._client = redis.asyncio.from_url(url, socket_timeout=timeout, socket_connect_timeout=timeout)
        self._script = self._client.register_script(_SCRIPT.read_text())
        self._head = (int(lease * 1000), int(bounds.ttl * 1000), bounds.entries, bounds.max_bytes)
        self._prefix = prefix
        self._batched: Batched[_Operation] = Batched(self._run, redact(url))

    async def claim(self, key: str) -> Claim:
        """See `AnswerCache`."""
        kind, value = await self._batched.do(_Operation("claim", key))
        if kind == b"claimed":
            return Claimed(int(value))
        if kind == b"recorded":
            return Recorded(value)
        return Busy(max(0.0, int(value) / 1000))

    async def renew(self, leases: Mapping[str, int]) -> frozenset[str]:
        """See `AnswerCache`."""
        operations = [_Operation("renew", key, token) for key, token in leases.items()]
        held = await asyncio.gather(*map(self._batched.do, operations))
        return frozenset(key for key, still in zip(leases, held, strict=True) if not still)

    async def record(self, key: str, token: int, outcome: bytes) -> bool:
        """See `AnswerCache`."""
        return bool(await self._batched.do(_Operation("record", key, token, outcome)))

    async def release(self, key: str, token: int) -> None:
        """See `AnswerCache`."""
        await self._batched.do(_Operation("release", key, token))

    async def replace(self, key: str, outcome: bytes) -> None:
        """See `AnswerCache`."""
        await self._batched.do(_Operation("replace", key, 0, outcome))

    async def close(self) -> None:
        """See `AnswerCache`."""
        await self._batched.close()
        await self._client.aclose()

    async def _run(self, operations: Sequence[_Operation]) -> list[Any]:
        arguments: list[bytes | str | int] = [*self._head]
        for operation in operations:
            arguments += (operation.name, operation.token, operation.answer)
        keys = [f"{self._prefix}{name}" for name in ("count", "order", "sizes", "bytes")]
        keys += [f"{self._prefix}q:{operation.key}" for operation in operations]
        results: list[Any] = await self._script(keys=keys, args=arguments)
        return results
