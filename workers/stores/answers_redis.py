"""Gateways' answers in Redis, for all gateways of a fleet together."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from workers.core.ports import Kept
from workers.core.redact import redact
from workers.stores.redis_batch import Batched
from workers.stores.redis_link import RedisScript

_SCRIPT = Path(__file__).with_name("answers.lua")


class _Operation(NamedTuple):
    name: str  # begin, put or get
    key: str
    value: bytes = b""


class RedisAnswerStore:
    """See `core.ports.AnswerStore`. `keep` and `timeout` in seconds; beyond `size` bytes the oldest go first."""

    def __init__(
        self, url: str, *, keep: float, size: int, timeout: float = 2.0, prefix: str = "relayfleet:answers:"
    ) -> None:
        self._redis = RedisScript(url, _SCRIPT.read_text(), timeout)
        self._keep_ms = int(keep * 1000)
        self._size = size
        self._prefix = prefix
        self._batched = Batched(self._run, redact(url))

    async def begin(self, key: str, fingerprint: bytes) -> Kept | None:
        """See `AnswerStore`."""
        return _kept(await self._batched.do(_Operation("begin", key, fingerprint)))

    async def put(self, answers: Mapping[str, bytes]) -> None:
        """See `AnswerStore`."""
        await self._batched.do_all([_Operation("put", key, answer) for key, answer in answers.items()])

    async def get(self, keys: Sequence[str]) -> Sequence[Kept | None]:
        """See `AnswerStore`."""
        values = await self._batched.do_all([_Operation("get", key) for key in keys])
        return [_kept(value) for value in values]

    async def close(self) -> None:
        """See `AnswerStore`."""
        await self._batched.close()
        await self._redis.close()

    async def _run(self, operations: Sequence[_Operation]) -> list[Any]:
        arguments: list[bytes | str | int] = [self._keep_ms, self._size]
        for operation in operations:
            arguments += (operation.name, operation.value)
        keys = [f"{self._prefix}index", f"{self._prefix}bytes"]
        keys += [f"{self._prefix}id:{operation.key}" for operation in operations]
        results: list[Any] = await self._redis(keys, arguments)
        return results


def _kept(value: bytes | None) -> Kept | None:
    if value is None:
        return None
    end = 2 + value[1]
    return Kept(value[2:end], value[end:] if value[:1] == b"A" else None)
