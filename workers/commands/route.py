"""`relayfleet route`: which rule takes a message, and why."""

import sys
from pathlib import Path
from typing import Annotated

import typer

from schemas import headers as h
from schemas.codec import decode_request
from schemas.envelope import Payload, Request
from schemas.errors import DecodeError
from workers import assembly
from workers.commands.fleet_state import running_fleet
from workers.commands.route_evaluate import evaluate
from workers.commands.route_replay import replay
from workers.commands.route_view import Way
from workers.core.clock import SystemClock
from workers.core.errors import RelayError, UsageError
from workers.core.exit_codes import ExitCode
from workers.core.logging import configure_logging
from workers.core.settings import Settings
from workers.policies.route import compile_routes
from workers.policies.subject import Asked
from workers.shell import KafkaOption, Output, OutputOption, TopologyOption, fail, load

app = typer.Typer(help="The routes of the topology.", no_args_is_help=True)


app.command()(evaluate)
app.command()(replay)


@app.callback()
def routes() -> None:
    """The routes of the topology."""


@app.command()
def explain(
    file: Annotated[
        str | None,
        typer.Argument(metavar="[FILE|-]", help="Envelopes, one JSON object a line; - reads them here."),
    ] = None,
    text: Annotated[str | None, typer.Option("--text", help="A text instead of envelopes.")] = None,
    source: Annotated[str, typer.Option("--source", help="With --text: who asks.")] = "cli",
    target: Annotated[
        str | None, typer.Option("--target", help="As if the messages named this target (relay.target).")
    ] = None,
    tenant: Annotated[
        str | None, typer.Option("--tenant", help="As if the messages were this tenant's (relay.tenant).")
    ] = None,
    topology: TopologyOption = None,
    kafka: KafkaOption = None,
    output: OutputOption = Output.TABLE,
) -> None:
    """Say which rule takes a message, to which target, with what confidence, and why. Sends nothing.

    Where a fleet runs, it also says how the target's instances stand. Exits 1 where a message has no route, or a line
    of the file is no envelope.
    """
    configure_logging("route", level="error")
    settings = Settings.read()
    try:
        loaded = load(topology, settings)
        router = compile_routes(loaded, assembly.open_classifier(loaded, settings))
        requests, problems = ([_asked(text, source)], []) if text is not None else _read(file)
    except RelayError as error:
        fail(error)
    said = {h.TARGET: target, h.TENANT: tenant}
    headers = tuple((name, h.to_bytes(value)) for name, value in said.items() if value is not None)
    standing = running_fleet(loaded, settings, kafka)
    ways = [Way.of(router, Asked(request, headers, SystemClock().wall()), standing) for request in requests]
    for way in ways:
        way.print_json() if output is Output.JSON else way.print()
    for problem in problems:
        typer.echo(problem, err=True)
    missed = problems or any(way.decision is None for way in ways)
    raise typer.Exit(ExitCode.FAILED if missed else ExitCode.DONE)


def _asked(text: str, source: str) -> Request:
    return Request(message_id="explain", source=source, payload=Payload(text=text), timestamp=0.0)


def _read(file: str | None) -> tuple[list[Request], list[str]]:
    """The envelopes of a file, and what is wrong with the lines that are none."""
    if file is None:
        raise UsageError("give a file of envelopes, - for standard input, or --text")
    try:
        data = sys.stdin.buffer.read() if file == "-" else Path(file).read_bytes()
    except OSError as error:
        raise UsageError(f"{file} can't be read: {error.strerror}") from error
    requests: list[Request] = []
    problems: list[str] = []
    for number, line in enumerate(data.splitlines(), 1):
        if not line.strip():
            continue
        try:
            requests.append(decode_request(line).request)
        except DecodeError as error:
            problems.append(f"{file} line {number} is no envelope: {error}")
    if not requests:
        raise UsageError("\n".join(problems) or f"{file} holds no envelope")
    return requests, problems
