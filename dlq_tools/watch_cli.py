"""`relayfleet dlq watch`: metrics and log lines for alerts, until it is told to stop."""

import asyncio
import signal
from typing import Annotated

import structlog
import typer

from dlq_tools.options import TopicOption
from dlq_tools.session import open_session
from dlq_tools.watch import Watch
from workers.core.health import Health, HealthServer
from workers.core.logging import configure_logging
from workers.core.metrics import Metrics
from workers.core.settings import Settings
from workers.shell import HealthPortOption, KafkaOption, TopologyOption, run

app = typer.Typer()
log = structlog.get_logger()


@app.command()
def watch(
    every: Annotated[
        float, typer.Option("--every", min=1.0, metavar="SECONDS", help="How often to look.")
    ] = 15.0,
    topic: TopicOption = None,
    health_port: HealthPortOption = 0,
    topology: TopologyOption = None,
    kafka: KafkaOption = None,
) -> None:
    """Watch dead letters for alerts: depth, age and rate as metrics, and a log line for an error never seen before."""

    async def main() -> None:
        stop, health, metrics = _stop_on_signals(), Health(), Metrics()
        async with open_session(topology, kafka) as session:
            configure_logging("dlq-watch")
            watching = Watch(session, topic or session.names.dead_letters, metrics)
            health.ready_when(watching.fresh)
            with HealthServer(health, metrics, host=Settings.read().listen, port=health_port) as server:
                log.info("health_listening", address=server.address)
                await watching.run(stop, every)

    run(main)


def _stop_on_signals() -> asyncio.Event:
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    return stop
