"""Keys in Redis that one holder at a time answers: `L<token>` while somebody is at it, `O<outcome>` once it is answered.

Under load a round trip serves hundreds of keys.
"""

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
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


class Do(StrEnum):
    """The letters by which the scripts know their functions."""

    CLAIM = "c"
    RENEW = "n"
    RELEASE = "d"
    RECORD = "r"
    REPLACE = "p"


@dataclass(frozen=True, slots=True)
class Operation:
    """One call of a function of the script. `outcome`: what `RECORD` and `REPLACE` bring, and no other does."""

    do: Do
    key: str
    token: int = 0
    outcome: bytes | None = None


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
        found: bytes = await self._batched.do(Operation(Do.CLAIM, key))
        if found.startswith(b"L"):
            return Claimed(int(found[1:]))
        if found.startswith(b"O"):
            return Recorded(found[1:])
        return Busy(max(0.0, int(found[1:]) / 1000))

    async def renew(self, leases: Mapping[str, int]) -> frozenset[str]:
        """See the port."""
        operations = [Operation(Do.RENEW, key, token) for key, token in leases.items()]
        held = await asyncio.gather(*map(self._batched.do, operations))
        return frozenset(key for key, still in zip(leases, held, strict=True) if not still)

    async def record(self, key: str, token: int, outcome: bytes) -> bool:
        """See the port."""
        return bool(await self._batched.do(Operation(Do.RECORD, key, token, outcome)))

    async def release(self, key: str, token: int) -> None:
        """See the port."""
        await self._batched.do(Operation(Do.RELEASE, key, token))

    async def close(self) -> None:
        """See the port."""
        await self._batched.close()
        await self._client.aclose()

    async def _run(self, operations: Sequence[Operation]) -> list[Any]:
        calls = "".join([f"{operation.do.value}{operation.token}" for operation in operations])
        outcomes = [operation.outcome for operation in operations if operation.outcome is not None]
        keys = [*self._script.keys, *[f"{self._script.prefix}{operation.key}" for operation in operations]]
        arguments: list[bytes | str | int] = [*self._script.arguments, calls, *outcomes]
        results: list[Any] = await self._run_script(keys=keys, args=arguments)
        return results
