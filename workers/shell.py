"""What all commands share: options, loading the topology, printing, and errors that end in an exit code."""

import asyncio
import sys
from collections.abc import Callable, Coroutine
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any, NoReturn

import orjson
import typer
from rich.console import Console

from workers.core.errors import FatalError, MessageError, RelayError, UnreachableError, UsageError
from workers.core.exit_codes import ExitCode
from workers.core.redact import redact
from workers.core.settings import Settings
from workers.core.topology.load import load_topology
from workers.core.topology.model import Topology
from workers.core.topology.problems import TopologyError


class Output(StrEnum):
    """How a command prints its result."""

    TABLE = "table"
    JSON = "json"


TopologyOption = Annotated[
    Path | None,
    typer.Option(
        "--topology", "-t", help="The topology file.", show_default="topology.yaml or $RELAYFLEET_TOPOLOGY"
    ),
]
KafkaOption = Annotated[
    str | None, typer.Option("--kafka", metavar="HOST:PORT", help="Use this Kafka instead of the topology's.")
]
OutputOption = Annotated[
    Output, typer.Option("--output", "-o", help="A table for people or JSON for machines.")
]
HealthPortOption = Annotated[
    int,
    typer.Option(
        "--health-port", min=0, max=65535, help="Port of /metrics, /healthz and /readyz; 0: a free one."
    ),
]

EXIT_CODES: tuple[tuple[type[RelayError], ExitCode], ...] = (
    (UsageError, ExitCode.USAGE),
    (UnreachableError, ExitCode.UNREACHABLE),
    (FatalError, ExitCode.FATAL),
    (MessageError, ExitCode.FAILED),
)


def console() -> Console:
    """Standard output for people."""
    return Console(soft_wrap=True)


def print_json(value: object) -> None:
    """One JSON object on one line of standard output."""
    sys.stdout.buffer.write(orjson.dumps(value, option=orjson.OPT_APPEND_NEWLINE))
    sys.stdout.buffer.flush()


def load(path: Path | None, settings: Settings) -> Topology:
    """The topology of the option, else of the environment, else `topology.yaml`."""
    return load_topology(path or settings.topology, settings.environment)


def run(main: Callable[[], Coroutine[Any, Any, ExitCode | None]]) -> NoReturn:
    """Run a command's coroutine to its exit code; our errors become one line on standard error, never a traceback."""
    try:
        code = asyncio.run(main())
    except RelayError as error:
        fail(error)
    except KeyboardInterrupt:
        raise typer.Exit(ExitCode.ABORTED) from None
    raise typer.Exit(code or ExitCode.DONE)


def fail(error: RelayError) -> NoReturn:
    """Print an error of ours and leave with its exit code."""
    Console(stderr=True, soft_wrap=True, highlight=False).print(
        f"[bold red]error:[/] {_escape(_safe(error))}"
    )
    code = next((code for kind, code in EXIT_CODES if isinstance(error, kind)), ExitCode.FAILED)
    raise typer.Exit(code) from None


def _safe(error: RelayError) -> str:
    # A topology's problems name keys and lines and never values; masking would only hide which key is meant.
    return str(error) if isinstance(error, TopologyError) else redact(str(error))


def _escape(text: str) -> str:
    return text.replace("[", "\\[")
