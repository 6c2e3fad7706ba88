"""What the workers of a fleet share while it runs, opened when a target first needs it: in Redis, else in memory."""

from collections.abc import Awaitable, Callable

from workers.core.ports import AnswerCache, CacheBounds, LimitStore
from workers.stores.cache_memory import MemoryAnswerCache
from workers.stores.limits_memory import MemoryLimitStore

LEASE = 10.0
"""Seconds that a question counts as under way after its worker was last heard of."""


class SharedStores:
    """Stores of one process. `url` None: each process has its own, in memory."""

    def __init__(self, url: str | None = None) -> None:
        self._url = url
        self._closing: list[Callable[[], Awaitable[None]]] = []
        self._answers: dict[tuple[str, CacheBounds], AnswerCache] = {}
        self._limits: LimitStore | None = None

    def answers(self, deployment: str, target: str, bounds: CacheBounds) -> AnswerCache:
        """The cached answers of a target; `deployment` is what tells it from others that use the same Redis."""
        store = self._answers.get((target, bounds))
        if store is None:
            store = self._answers[target, bounds] = self._open(deployment, target, bounds)
            self._closing.append(store.close)
        return store

    def _open(self, deployment: str, target: str, bounds: CacheBounds) -> AnswerCache:
        if self._url is None:
            return MemoryAnswerCache(bounds, lease=LEASE)
        from workers.stores.cache_redis import RedisAnswerCache

        prefix = f"relayfleet:cache:{deployment}:{target}:"
        return RedisAnswerCache(self._url, bounds, lease=LEASE, prefix=prefix)

    def limits(self, deployment: str) -> LimitStore:
        """The limits and budgets of a deployment: one store for all its targets and tenants."""
        if self._limits is None:
            self._limits = self._open_limits(deployment)
            self._closing.append(self._limits.close)
        return self._limits

    def _open_limits(self, deployment: str) -> LimitStore:
        if self._url is None:
            return MemoryLimitStore()
        from workers.stores.limits_redis import RedisLimitStore

        return RedisLimitStore(self._url, prefix=f"relayfleet:limits:{deployment}:")

    async def close(self) -> None:
        """Let go of every connection."""
        for close in self._closing:
            await close()
        self._closing.clear()
