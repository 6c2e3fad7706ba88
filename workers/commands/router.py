"""`relayfleet router`: one router, until it is told to stop."""

import asyncio
import os
import signal
from collections.abc import Callable, Coroutine
from typing import TYPE_CHECKING, Annotated, Any

import structlog
import typer
import uvloop

from workers import assembly
from workers.core.errors import RelayError
from workers.core.exit_codes import ExitCode
from workers.core.health import Fact, Health, HealthServer
from workers.core.logging import configure_logging
from workers.core.metrics import Metrics
from workers.core.settings import Settings
from workers.shell import HealthPortOption, KafkaOption, TopologyOption, fail, load

if TYPE_CHECKING:
    from workers.router.service import RouterService

log = structlog.get_logger()

MemberOption = Annotated[
    str | None,
    typer.Option(
        "--member",
        help="A name that no other router of the group has and that stays over restarts: "
        "a restarted router then has its partitions back at once.",
    ),
]


def router(
    topology: TopologyOption = None,
    kafka: KafkaOption = None,
    health_port: HealthPortOption = 0,
    member: MemberOption = None,
) -> None:
    """Route messages to their targets, until SIGTERM or Ctrl-C; a second one aborts.

    Exits 0 after a drain, 2 for a topology or topics that are wrong, 4 where Kafka can't be reached, 70 where a record
    could not be delivered, 71 where nothing moved although there was lag, 130 where the drain was cut short.
    """
    configure_logging("router")
    settings = Settings.read()
    health, metrics = Health(), Metrics()
    started: list[RouterService] = []
    health.ready_when(lambda: started[0].ready() if started else Fact("group", ok=False, why="starting"))

    async def main() -> ExitCode:
        stop = asyncio.Event()
        for number in (signal.SIGTERM, signal.SIGINT):
            asyncio.get_running_loop().add_signal_handler(number, _on_signal, stop)
        loaded = load(topology, settings)
        async with assembly.open_router(loaded, settings, metrics, kafka=kafka, member=member) as service:
            started.append(service)
            health.alive_when(service.alive)
            return await service.run(stop)

    try:
        with HealthServer(health, metrics, host=settings.listen, port=health_port) as server:
            log.info("serving health and metrics", address=server.address)
            code = _run(main)
    except RelayError as error:
        fail(error)
    raise typer.Exit(code)


def _run(main: Callable[[], Coroutine[Any, Any, ExitCode]]) -> ExitCode:
    """uvloop, and Faust's consumer thread on it as well: half the cost an event of asyncio's own loop."""
    asyncio.set_event_loop_policy(uvloop.EventLoopPolicy())
    return asyncio.run(main())


def _on_signal(stop: asyncio.Event) -> None:
    if stop.is_set():
        log.warning("second signal: what is in flight is routed again")
        os._exit(ExitCode.ABORTED)
    stop.set()
