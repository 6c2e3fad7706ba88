"""Limits and budgets in Redis, drawn from by all workers and gateways of a fleet; Redis's own clock counts."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

from workers.core.ports import Draw, Drawn
from workers.core.redact import redact
from workers.stores.redis_batch import Batched
from workers.stores.redis_link import RedisScript

_SCRIPT = Path(__file__).with_name("limits.lua")


class _Operation(NamedTuple):
    name: str  # take, look or add
    draws: Sequence[Draw]


class RedisLimitStore:
    """See `core.ports.LimitStore`. `timeout` in seconds."""

    def __init__(self, url: str, *, prefix: str, timeout: float = 2.0) -> None:
        self._redis = RedisScript(url, _SCRIPT.read_text(), timeout)
        self._prefix = prefix
        self._batched: Batched[_Operation] = Batched(self._run, redact(url))

    async def take(self, draws: Sequence[Draw]) -> Drawn:
        """See `LimitStore`."""
        return await self._do("take", draws)

    async def look(self, draws: Sequence[Draw]) -> Drawn:
        """See `LimitStore`."""
        return await self._do("look", draws)

    async def add(self, draws: Sequence[Draw]) -> None:
        """See `LimitStore`."""
        await self._do("add", draws)

    async def close(self) -> None:
        """See `LimitStore`."""
        await self._batched.close()
        await self._redis.close()

    async def _do(self, name: str, draws: Sequence[Draw]) -> Drawn:
        which, wait = await self._batched.do(_Operation(name, draws))
        return Drawn(float(wait), int(which) - 1 if which else None)

    async def _run(self, operations: Sequence[_Operation]) -> list[Any]:
        keys = [self._prefix + draw.key for operation in operations for draw in operation.draws]
        arguments: list[bytes | str | int | float] = []
        for operation in operations:
            arguments += (operation.name, len(operation.draws))
            for draw in operation.draws:
                arguments += (draw.amount, draw.most, draw.rate, draw.ends_at)
        results: list[Any] = await self._redis(keys, arguments)
        return results
