"""The gateway as a process: start, watch, drain, and the exit code that says why it ended."""

import asyncio
from collections.abc import Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

import structlog

from workers.core.clock import Clock
from workers.core.deadlines import Deadline
from workers.core.exit_codes import ExitCode
from workers.core.health import Fact
from workers.gateway.front import Front
from workers.gateway.pending import Registry
from workers.gateway.relay import Relay
from workers.gateway.replies import Replies
from workers.gateway.watch import KafkaWatch

log = structlog.get_logger()

_BEAT = 0.5
_CLOSE_SECONDS = 5.0  # of the drain, kept for leaving in order


@dataclass(frozen=True, slots=True)
class ServiceLimits:
    """Seconds."""

    drain: float = 25.0
    silent: float = 10.0  # without a turn of the event loop it counts as dead


class GatewayService:
    """One gateway. `run` is its whole life; `alive` and `ready` may be asked from another thread."""

    def __init__(
        self,
        relay: Relay,
        replies: Replies,
        registry: Registry,
        watch: KafkaWatch,
        fronts: Sequence[Front],
        clock: Clock,
        limits: ServiceLimits | None = None,
    ) -> None:
        self._relay = relay
        self._replies = replies
        self._registry = registry
        self._watch = watch
        self._fronts = fronts
        self._clock = clock
        self._limits = limits or ServiceLimits()
        self._turned_at = clock.monotonic()
        self._stopping = False

    def alive(self) -> Fact:
        """Whether the event loop turns."""
        silent = self._clock.monotonic() - self._turned_at
        return Fact("loop", silent < self._limits.silent, f"turned {silent:.1f} s ago")

    def ready(self) -> Fact:
        """Whether a request would be taken."""
        if self._stopping:
            return Fact("gateway", ok=False, why="draining")
        if self._watch.away:
            return Fact("gateway", ok=False, why="Kafka does not answer")
        if not self._replies.in_service:
            why = "reads no partition of the responses and chunks: starting, or there are more gateways than partitions"
            return Fact("gateway", ok=False, why=why)
        return Fact("gateway", ok=True, why="in service")

    async def run(self, stop: asyncio.Event) -> ExitCode:
        """Take requests until `stop` is set, then drain within one deadline.

        Raises what makes it impossible to go on: `UsageError` where an address is taken, `FatalError` and
        `UnreachableError` where the group can't be read.
        """
        tasks = [
            asyncio.create_task(work, name=name)
            for name, work in (
                ("beat", self._beat()),
                ("watch", self._watch.run()),
                ("look", self._relay.run()),
            )
        ]
        stopping = asyncio.create_task(stop.wait(), name="stop")
        try:
            await self._replies.start()
            for front in self._fronts:
                await front.start()
            ends: set[asyncio.Future[Any]] = {stopping, self._replies.failure, *tasks}
            await asyncio.wait(ends, return_when=asyncio.FIRST_COMPLETED)
            if not stopping.done():
                _raise_first(ends)
            return await self._drain()
        finally:
            for task in (*tasks, stopping):
                task.cancel()
            await asyncio.gather(*tasks, stopping, return_exceptions=True)

    async def _drain(self) -> ExitCode:
        """1. take nothing more, 2. let answers come, 3. give ids for the rest, 4. close fronts, 5. keep, commit, leave."""
        self._stopping = True
        deadline = Deadline.after(self._limits.drain, self._clock)
        log.info("gateway_draining", waiting=len(self._registry))
        self._relay.stop()
        with suppress(TimeoutError):
            await asyncio.wait_for(self._registry.emptied(), max(0.0, deadline.remaining() - _CLOSE_SECONDS))
        left = self._registry.all()
        for pending in left:
            pending.give_up()
        if left:
            log.info("gateway_gives_ids", requests=len(left), so="their answers are found under their ids")
        await asyncio.gather(*(front.stop(deadline) for front in self._fronts))
        await self._replies.close(deadline)
        return ExitCode.DONE

    async def _beat(self) -> None:
        while True:
            self._turned_at = self._clock.monotonic()
            await asyncio.sleep(_BEAT)


def _raise_first(ended: Iterable[asyncio.Future[Any]]) -> None:
    for future in ended:
        if future.done():
            future.result()
