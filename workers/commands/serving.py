"""What every process of the fleet does around its service: signals, health and metrics, the exit code."""

import asyncio
import os
import signal
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from typing import Protocol

import structlog
import uvloop

from workers.core.exit_codes import ExitCode
from workers.core.health import Fact, Health, HealthServer
from workers.core.interpreter import calm_collector
from workers.core.metrics import Metrics
from workers.core.settings import Settings

log = structlog.get_logger()


class Service(Protocol):
    """A router or a worker: open, and not running yet. `alive` and `ready` are asked from another thread."""

    def alive(self) -> Fact:
        """Whether it should be left running."""

    def ready(self) -> Fact:
        """Whether it is in service."""

    async def run(self, stop: asyncio.Event) -> ExitCode:
        """Work until `stop` is set, then drain."""


Open = Callable[[Settings, Metrics], AbstractAsyncContextManager[Service]]


def serve(open_service: Open, health_port: int) -> ExitCode:
    """Run one service, with its health and metrics on `health_port`, until a signal drains it; a second one aborts."""
    settings, health, metrics = Settings.read(), Health(), Metrics()
    opened: list[Service] = []
    health.ready_when(lambda: opened[0].ready() if opened else Fact("group", ok=False, why="starting"))

    async def main() -> ExitCode:
        stop = _stop_on_signals()
        async with open_service(settings, metrics) as service:
            opened.append(service)
            health.alive_when(service.alive)
            calm_collector()
            return await service.run(stop)

    with HealthServer(health, metrics, host=settings.listen, port=health_port) as server:
        log.info("health_listening", address=server.address)
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            return runner.run(main())


def _stop_on_signals() -> asyncio.Event:
    stop = asyncio.Event()

    def on_signal() -> None:
        if stop.is_set():
            log.warning("second_signal", so="what is in flight is left, and comes again")
            os._exit(ExitCode.ABORTED)
        stop.set()

    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, on_signal)
    return stop
