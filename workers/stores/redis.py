"""Outcomes in Redis, shared by all workers of a fleet.

One key an id: `L<token>` while somebody holds the lease, `O<outcome>` once it is answered. Calls that are made while
one is under way travel together in the next: under load a round trip serves hundreds of ids.
"""

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import redis.asyncio
import redis.exceptions

from workers.core.errors import UnreachableError
from workers.core.ports import Busy, Claim, Claimed, Recorded
from workers.core.redact import redact

_MOST_AT_ONCE = 512
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
        self._address = redact(url)
        self._window_ms = int(window * 1000)
        self._lease_ms = int(lease * 1000)
        self._prefix = prefix
        self._waiting: list[tuple[_Operation, asyncio.Future[Any]]] = []
        self._sender: asyncio.Task[None] | None = None

    async def claim(self, key: str) -> Claim:
        """See `OutcomeStore`."""
        kind, value = await self._do(_Operation("claim", key))
        if kind == b"claimed":
            return Claimed(int(value))
        if kind == b"recorded":
            return Recorded(value)
        return Busy(max(0.0, int(value) / 1000))

    async def renew(self, leases: Mapping[str, int]) -> frozenset[str]:
        """See `OutcomeStore`."""
        held = await asyncio.gather(
            *(self._do(_Operation("renew", key, token)) for key, token in leases.items())
        )
        return frozenset(key for key, still in zip(leases, held, strict=True) if not still)

    async def record(self, key: str, token: int, outcome: bytes) -> bool:
        """See `OutcomeStore`."""
        return bool(await self._do(_Operation("record", key, token, outcome)))

    async def release(self, key: str, token: int) -> None:
        """See `OutcomeStore`."""
        await self._do(_Operation("release", key, token))

    async def close(self) -> None:
        """See `OutcomeStore`."""
        if self._sender is not None:
            await asyncio.gather(self._sender, return_exceptions=True)
        await self._client.aclose()

    def _do(self, operation: _Operation) -> asyncio.Future[Any]:
        future: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
        self._waiting.append((operation, future))
        if self._sender is None or self._sender.done():
            self._sender = asyncio.create_task(self._send_waiting())
        return future

    async def _send_waiting(self) -> None:
        while self._waiting:
            batch, self._waiting = self._waiting[:_MOST_AT_ONCE], self._waiting[_MOST_AT_ONCE:]
            try:
                results = await self._run([operation for operation, _ in batch])
            except (redis.exceptions.RedisError, OSError) as error:
                why = f"Redis at {self._address} does not answer ({type(error).__name__}); is it running?"
                self._fail(batch, UnreachableError(why))
            except Exception as error:  # noqa: BLE001 - a fault of ours: whoever waits must hear of it
                self._fail(batch, error)
            else:
                for (_, future), result in zip(batch, results, strict=True):
                    if not future.done():
                        future.set_result(result)

    async def _run(self, operations: Sequence[_Operation]) -> list[Any]:
        arguments: list[bytes | str | int] = [self._lease_ms, self._window_ms]
        for operation in operations:
            arguments += (operation.name, operation.token, operation.outcome)
        keys = [f"{self._prefix}token", *(f"{self._prefix}id:{operation.key}" for operation in operations)]
        results: list[Any] = await self._script(keys=keys, args=arguments)
        return results

    @staticmethod
    def _fail(batch: Sequence[tuple[_Operation, asyncio.Future[Any]]], error: Exception) -> None:
        for _, future in batch:
            if not future.done():
                future.set_exception(error)
