"""`relayfleet gateway`: lets clients take part that know no Kafka, until it is told to stop."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Annotated

import typer

from workers.commands.serving import open_live, serve
from workers.core.errors import RelayError
from workers.core.logging import configure_logging
from workers.core.metrics import Metrics
from workers.core.settings import Settings
from workers.shell import (
    HealthPortOption,
    KafkaOption,
    Output,
    OutputOption,
    TopologyOption,
    console,
    fail,
    print_json,
)

if TYPE_CHECKING:
    from workers.gateway.service import GatewayService

app = typer.Typer(invoke_without_command=True)
keys = typer.Typer(help="API keys of tenants.", no_args_is_help=True)
app.add_typer(keys, name="key")

MemberOption = Annotated[
    str | None,
    typer.Option(
        "--member",
        help="A name that no other gateway of the group has and that stays over restarts: "
        "a restarted gateway then has its partitions back at once.",
    ),
]


@app.callback()
def gateway(
    context: typer.Context,
    topology: TopologyOption = None,
    kafka: KafkaOption = None,
    member: MemberOption = None,
    host: Annotated[str | None, typer.Option("--host", help="Listen here instead of gateway.host.")] = None,
    port: Annotated[
        int | None, typer.Option("--port", min=0, max=65535, help="Instead of gateway.port; 0: a free one.")
    ] = None,
    grpc_port: Annotated[
        int | None,
        typer.Option("--grpc-port", min=0, max=65535, help="Instead of gateway.grpc_port; 0: a free one."),
    ] = None,
    health_port: HealthPortOption = 0,
) -> None:
    """Take requests over HTTP, WebSocket and gRPC and give their answers, until SIGTERM or Ctrl-C drains the gateway; a second one aborts.

    Exits 0 after a drain, 2 for a topology, topics or an address that can't be used, 4 where Kafka can't be reached.
    """
    if context.invoked_subcommand is not None:
        return
    configure_logging("gateway")

    @asynccontextmanager
    async def open_gateway(settings: Settings, metrics: Metrics) -> "AsyncIterator[GatewayService]":
        # Not above: uvicorn and what it brings take a third of a second, which no other command should wait for.
        from workers import assembly_gateway

        path = topology or settings.topology
        where = assembly_gateway.Where(path.parent, host, port, grpc_port, kafka, member)
        loaded = live.current.topology
        async with assembly_gateway.open_gateway(loaded, settings, metrics, where, live) as service:
            yield service

    try:
        live = open_live(topology, Settings.read(), kafka, once=frozenset({"gateway"}))
        code = serve(open_gateway, health_port, live)
    except RelayError as error:
        fail(error)
    raise typer.Exit(code)


@keys.command("new")
def new(output: OutputOption = Output.TABLE) -> None:
    """Make an API key: it is shown once; its hash goes into the topology, under `tenants.NAME.keys`."""
    from workers.gateway.auth import hash_of, new_key

    key = new_key()
    if output is Output.JSON:
        print_json({"key": key, "hash": hash_of(key)})
    else:
        console().print(f"key   {key}\nhash  {hash_of(key)}", highlight=False)
