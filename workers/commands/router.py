"""`relayfleet router`: one router, until it is told to stop."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Annotated

import typer

from workers import assembly
from workers.commands.serving import open_live, serve
from workers.core.errors import RelayError
from workers.core.logging import configure_logging
from workers.core.metrics import Metrics
from workers.core.settings import Settings
from workers.shell import HealthPortOption, KafkaOption, TopologyOption, fail

if TYPE_CHECKING:
    from workers.router.service import RouterService

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

    Follows the topology's file: what changed is in use within seconds, or at once after SIGHUP.

    Exits 0 after a drain, 2 for a topology or topics that are wrong, 4 where Kafka can't be reached, 70 where a record
    could not be delivered, 71 where nothing moved although there was lag, 130 where the drain was cut short.
    """
    configure_logging("router")
    try:
        live = open_live(topology, Settings.read(), kafka)

        @asynccontextmanager
        async def open_router(settings: Settings, metrics: Metrics) -> "AsyncIterator[RouterService]":
            opening = assembly.open_router(live.current.topology, settings, metrics, member=member, live=live)
            async with opening as service:
                yield service

        code = serve(open_router, health_port, live)
    except RelayError as error:
        fail(error)
    raise typer.Exit(code)
