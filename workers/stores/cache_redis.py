"""Cached answers of one target in Redis, shared by all workers of a fleet.

The oldest answers go when there are too many; what has expired is struck off the list at the next answer.
"""

from workers.core.ports import CacheBounds
from workers.stores.redis_leases import RedisLeases
from workers.stores.redis_operations import Do, Operation, Script


class RedisAnswerCache(RedisLeases):
    """See `core.ports.AnswerCache`. `lease` and `timeout` in seconds; `prefix` is the target's own."""

    def __init__(
        self, url: str, bounds: CacheBounds, *, lease: float, prefix: str, timeout: float = 2.0
    ) -> None:
        keys = [f"{prefix}{name}" for name in ("count", "order", "sizes", "bytes")]
        arguments = (int(lease * 1000), int(bounds.ttl * 1000), bounds.entries, bounds.max_bytes)
        super().__init__(url, Script("cache.lua", keys, arguments, f"{prefix}q:"), timeout)

    async def replace(self, key: str, outcome: bytes) -> None:
        """See `AnswerCache`."""
        await self._batched.do(Operation(Do.REPLACE, key, 0, outcome))
