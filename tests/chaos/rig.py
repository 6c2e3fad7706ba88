"""One fleet under one fault: traffic flows, something breaks, and the history of every message is judged."""

import asyncio
import signal
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.brokers import PrivateBroker
from tests.fleet import Fleet, running_fleet
from tests.history import History, Watcher
from tests.support import eventually

CONCURRENCY = 64
KEYS = 50
LONGER_THAN_A_SESSION = 14.0  # seconds; the embedded broker gives members up after 6, the router asks for 10
LONGER_THAN_A_CALL = 12.0
TARGET: Mapping[str, Any] = {
    "timeout": "10s",  # so that it is the fault that costs a call, and no process that is held up for a while
    "ordering": "key",
    "retry": {"attempts": 8, "initial": "100ms", "max": "2s", "hold_up_to": "2s"},
    "breaker": {"open_for": "1s", "window": "5s"},
}


@dataclass
class Rig:
    """What a fault may do harm to."""

    broker: PrivateBroker
    fleet: Fleet

    async def restart(self, kind: str, number: int) -> None:
        """Signal all processes of a kind to end, and start them again."""
        for process in self.fleet.of(kind):
            process.signal(number)
        for process in self.fleet.of(kind):
            await process.ended(60)
            process.start()
        for process in self.fleet.of(kind):
            if process.health_port is not None:
                await self.fleet.ready(process)

    async def pause(self, kind: str, seconds: float) -> None:
        """SIGSTOP all processes of a kind for a while."""
        for process in self.fleet.of(kind):
            process.signal(signal.SIGSTOP)
        await asyncio.sleep(seconds)
        for process in self.fleet.of(kind):
            process.signal(signal.SIGCONT)


Fault = Callable[[Rig], Awaitable[None]]


@asynccontextmanager
async def chaos_rig(broker: PrivateBroker, directory: Path, workers: int = 2) -> AsyncIterator[Rig]:
    """A fleet with Redis, a router, workers, and a proxy between them and the broker."""
    async with running_fleet(
        broker.bootstrap,
        directory,
        reached_by=broker.proxied,
        with_redis=True,
        target=TARGET,
        stub=("--delay-ms", "20", "--seed", "1"),
    ) as fleet:
        await asyncio.gather(
            fleet.add("router", "--member", "only"), *(fleet.add("worker") for _ in range(workers))
        )
        yield Rig(broker, fleet)


async def under(fault: Fault, rig: Rig, messages: int, rate: float) -> tuple[History, float]:
    """Send, break something in the middle, wait for every outcome.

    Returns the history, and the seconds from the end of the fault to the next outcome.
    """
    fleet = rig.fleet
    watcher = Watcher(fleet.bootstrap, fleet.names["responses"], fleet.names["dead_letters"])
    try:
        sending = asyncio.create_task(fleet.send_steadily(messages, rate, keys=KEYS))
        await eventually(lambda: _seen(watcher) > messages // 5, 60)
        await fault(rig)
        before, over = _seen(watcher), time.monotonic()
        await eventually(lambda: _seen(watcher) > before or _seen(watcher) >= messages, 60)
        recovery = time.monotonic() - over
        await sending
    finally:
        watcher.close()
    return await fleet.history(patience=90, letters=True), round(recovery, 1)


def _seen(watcher: Watcher) -> int:
    watcher.look()
    return len(watcher.outcomes)
