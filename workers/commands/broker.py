"""`relayfleet broker`: the embedded Kafka alone."""

from collections.abc import Callable
from dataclasses import asdict, replace
from pathlib import Path
from typing import Annotated

import typer
from rich.table import Table

from workers.core.errors import RelayError
from workers.core.logging import configure_logging
from workers.core.settings import Settings
from workers.local.broker import BrokerStatus, EmbeddedBroker
from workers.shell import Output, OutputOption, console, fail, print_json

app = typer.Typer(
    help="The embedded Kafka alone: real, on this machine, without Docker.", no_args_is_help=True
)

HomeOption = Annotated[
    Path | None,
    typer.Option(
        "--home", help="Where data, logs and ports are kept.", show_default=".relayfleet or $RELAYFLEET_HOME"
    ),
]


@app.command()
def start(
    home: HomeOption = None,
    performance: Annotated[
        bool, typer.Option("--performance", help="Java for measuring: more memory, a slower start.")
    ] = False,
    output: OutputOption = Output.TABLE,
) -> None:
    """Start it, or leave it running; it outlives this command. The first start downloads Kafka from Maven Central.

    Behind a firewall, RELAYFLEET_MAVEN_URL names a mirror: what comes is checked against pinned checksums anyway.
    """
    _show(lambda: _broker(home, performance).start(), output)


@app.command()
def stop(home: HomeOption = None, output: OutputOption = Output.TABLE) -> None:
    """Stop it. Topics and messages stay for the next start."""
    _show(lambda: _broker(home).stop(), output)


@app.command()
def status(home: HomeOption = None, output: OutputOption = Output.TABLE) -> None:
    """Whether it runs, and where."""
    _show(lambda: _broker(home).status(), output)


def _broker(home: Path | None, performance: bool = False) -> EmbeddedBroker:
    settings = Settings.read()
    if home is not None:
        settings = replace(settings, home=home.absolute())
    return EmbeddedBroker(settings.home, environment=settings.environment, performance=performance)


def _show(action: Callable[[], BrokerStatus], output: Output) -> None:
    configure_logging("broker")
    try:
        found = asdict(action())
    except RelayError as error:
        fail(error)
    if output is Output.JSON:
        print_json(found)
        return
    table = Table(show_header=False, box=None)
    for name, value in found.items():
        table.add_row(name.replace("_", " "), "-" if value is None else str(value))
    console().print(table)
