"""What every process of the fleet does around its service: signals, health and metrics, the exit code."""

import asyncio
import os
import signal
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from pathlib import Path
from typing import Protocol

import structlog
import uvloop

from workers.assembly import located
from workers.commands.processes import PASSED_ON
from workers.core.exit_codes import ExitCode
from workers.core.health import Fact, Health, HealthServer
from workers.core.interpreter import calm_collector
from workers.core.metrics import Metrics
from workers.core.settings import Settings
from workers.core.topology.live import LiveTopology

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


def open_live(
    topology: Path | None, settings: Settings, kafka: str | None, once: frozenset[str] = frozenset()
) -> LiveTopology:
    """The topology of the option, else of the environment, to be followed while a service runs. Raises `RelayError`.

    `once`: parts of the file that this service reads at its start alone, beside those that all do.
    """
    path = topology or settings.topology
    return LiveTopology(path, settings.environment, lambda loaded: located(loaded, settings, kafka), once)


def serve(open_service: Open, health_port: int, live: LiveTopology | None = None) -> ExitCode:
    """Run one service, with its health and metrics on `health_port`, until a signal drains it; a second one aborts.

    With `live` the service follows the topology's file, and SIGHUP makes it look at once.
    """
    settings, health, metrics = Settings.read(), Health(), Metrics()
    opened: list[Service] = []
    if live is not None:
        signal.signal(
            signal.SIGHUP, signal.SIG_IGN
        )  # until it is handled: it must not end a process that starts
        live.show(metrics)
        health.ready_when(live.fact)
    health.ready_when(lambda: opened[0].ready() if opened else Fact("group", ok=False, why="starting"))

    async def main() -> ExitCode:
        stop = _stop_on_signals()
        async with open_service(settings, metrics) as service:
            opened.append(service)
            health.alive_when(service.alive)
            calm_collector()
            return await (service.run(stop) if live is None else _following(live, service, stop))

    with HealthServer(health, metrics, host=settings.listen, port=health_port) as server:
        log.info("health_listening", address=server.address)
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            return runner.run(main())


async def _following(live: LiveTopology, service: Service, stop: asyncio.Event) -> ExitCode:
    """Run the service and follow the topology; where that breaks half-way, nobody knows what is in use, and it stops."""
    asyncio.get_running_loop().add_signal_handler(signal.SIGHUP, live.look_now)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, PASSED_ON)
    watching = asyncio.create_task(live.watch(), name="topology")
    watching.add_done_callback(lambda task: None if task.cancelled() else stop.set())
    try:
        code = await service.run(stop)
    finally:
        watching.cancel()
        (ended,) = await asyncio.gather(watching, return_exceptions=True)
    if isinstance(ended, Exception):
        raise ended
    return code


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
