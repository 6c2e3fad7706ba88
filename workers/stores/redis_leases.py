"""Keys in Redis that one holder at a time answers: `L<token>` while somebody is at it, `O<outcome>` once it is answered.

Under load a round trip serves hundreds of keys.
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

_HERE = Path(__file__).parent


@dataclass(frozen=True, slots=True)
class Script:
    """A Lua script over `leases.lua`: its file, the keys and arguments before those of the operations.

    The first key is the counter of tokens, the first argument the lease in milliseconds; operations are under `prefix`.
    """

    file: str
    keys: Sequence[str]
    arguments: Sequence[int]
    prefix: str


@dataclass(frozen=True, slots=True)
class Operation:
    """One call of a function of the script."""

    name: str
    key: str
    token: int = 0
    outcome: bytes = b""


class RedisLeases:
    """What `OutcomeStore` and `AnswerCache` have in common. `timeout` in seconds."""

    def __init__(self, url: str, script: Script, timeout: float) -> None:
        self._client = redis.asyncio.from_url(url, socket_timeout=timeout, socket_connect_timeout=timeout)
        text = "".join((_HERE / name).read_text() for name in ("leases.lua", script.file))
        self._run_script = self._client.register_script(text)
        self._script = script
        self._batched: Batched[Operation] = Batched(self._run, redact(url))

    async def claim(self, key: str) -> Claim:
        """See the port."""
        kind, value = await self._batched.do(Operation("claim", key))
        if kind == b"claimed":
            return Claimed(int(value))
        if kind == b"recorded":
            return Recorded(value)
        return Busy(max(0.0, int(value) / 1000))

    async def renew(self, leases: Mapping[str, int]) -> frozenset[str]:
        """See the port."""
        operations = [Operation("renew", key, token) for key, token in leases.items()]
        held = await asyncio.gather(*map(self._batched.do, operations))
        return frozenset(key for key, still in zip(leases, held, strict=True) if not still)

    async def record(self, key: str, token: int, outcome: bytes) -> bool:
        """See the port."""
        return bool(await self._batched.do(Operation("record", key, token, outcome)))

    async def release(self, key: str, token: int) -> None:
        """See the port."""
        await self._batched.do(Operation("release", key, token))

    async def close(self) -> None:
        """See the port."""
        await self._batched.close()
        await self._client.aclose()

    async def _run(self, operations: Sequence[Operation]) -> list[Any]:
        arguments: list[bytes | str | int] = [*self._script.arguments]
        for operation in operations:
            arguments += (operation.name, operation.token, operation.outcome)
        keys = [*self._script.keys, *(f"{self._script.prefix}{operation.key}" for operation in operations)]
        results: list[Any] = await self._run_script(keys=keys, args=arguments)
        return results
