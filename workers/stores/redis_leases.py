"""Keys in Redis that one holder at a time answers: `L<token>` while somebody is at it, `O<outcome>` once it is answered.

Under load a round trip serves hundreds of keys.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from workers.core.ports import Claim, Recording
from workers.core.redact import redact
from workers.stores.redis_batch import Batched
from workers.stores.redis_link import RedisScript
from workers.stores.redis_operations import Do, Operation, Script, claims, written

_HERE = Path(__file__).parent


def text_of(script: Script) -> str:
    """What Redis is sent of it."""
    return "".join((_HERE / name).read_text() for name in ("leases.lua", script.file))


class RedisLeases:
    """What `OutcomeStore` and `AnswerCache` have in common. `timeout` in seconds."""

    def __init__(self, url: str, script: Script, timeout: float) -> None:
        self._redis = RedisScript(url, text_of(script), timeout)
        self._script = script
        self._batched: Batched[Operation] = Batched(self._run, redact(url))

    async def claim(self, key: str) -> Claim:
        """See the port."""
        (claim,) = await self.claim_all([key])
        return claim

    async def claim_all(self, keys: Sequence[str]) -> Sequence[Claim]:
        """See the port."""
        return claims(await self._batched.do_all([Operation(Do.CLAIM, key) for key in keys]))

    async def renew(self, leases: Mapping[str, int]) -> frozenset[str]:
        """See the port."""
        held = await self._batched.do_all([Operation(Do.RENEW, *lease) for lease in leases.items()])
        return frozenset(key for key, still in zip(leases, held, strict=True) if not still)

    async def record(self, key: str, token: int, outcome: bytes) -> bool:
        """See the port."""
        (kept,) = await self.record_all([Recording(key, token, outcome)])
        return kept

    async def record_all(self, recordings: Sequence[Recording]) -> Sequence[bool]:
        """See the port."""
        kept = await self._batched.do_all([Operation(Do.RECORD, *recording) for recording in recordings])
        return [bool(each) for each in kept]

    async def release(self, key: str, token: int) -> None:
        """See the port."""
        await self._batched.do(Operation(Do.RELEASE, key, token))

    async def close(self) -> None:
        """See the port."""
        await self._batched.close()
        await self._redis.close()

    async def _run(self, operations: Sequence[Operation]) -> list[Any]:
        results: list[Any] = await self._redis(*written(self._script, operations))
        return results
