"""`relayfleet route`: which rule takes a message, and why."""

import sys
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.table import Table
from rich.text import Text

from schemas import headers as h
from schemas.codec import decode_request
from schemas.envelope import Payload, Request
from schemas.errors import DecodeError
from workers import assembly
from workers.commands.route_evaluate import evaluate
from workers.commands.route_replay import replay
from workers.core.clock import SystemClock
from workers.core.errors import RelayError, UsageError
from workers.core.exit_codes import ExitCode
from workers.core.logging import configure_logging
from workers.core.settings import Settings
from workers.policies.route import Explanation, Router, compile_routes
from workers.policies.subject import Asked
from workers.shell import Output, OutputOption, TopologyOption, console, fail, load, print_json

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
    topology: TopologyOption = None,
    output: OutputOption = Output.TABLE,
) -> None:
    """Say which rule takes a message, to which target, with what confidence, and why. Sends nothing.

    Exits 1 where a message has no route.
    """
    configure_logging("route", level="warning")
    try:
        router = open_routes(topology)
        requests = [_asked(text, source)] if text is not None else _read(file)
    except RelayError as error:
        fail(error)
    headers = ((h.TARGET, h.to_bytes(target)),) if target is not None else ()
    asked = [Asked(request, headers, SystemClock().wall()) for request in requests]
    unroutable = [each for each in asked if not _show(router, each, output)]
    raise typer.Exit(ExitCode.FAILED if unroutable else ExitCode.DONE)


def open_routes(topology: Path | None) -> Router:
    """The compiled routes of a file; learns its intents where a rule asks for one. Raises `UsageError`."""
    settings = Settings.read()
    loaded = load(topology, settings)
    return compile_routes(loaded, assembly.open_classifier(loaded, settings))


def _asked(text: str, source: str) -> Request:
    return Request(message_id="explain", source=source, payload=Payload(text=text), timestamp=0.0)


def _read(file: str | None) -> list[Request]:
    if file is None:
        raise UsageError("give a file of envelopes, - for standard input, or --text")
    try:
        data = sys.stdin.buffer.read() if file == "-" else Path(file).read_bytes()
    except OSError as error:
        raise UsageError(f"{file} can't be read: {error.strerror}") from error
    requests: list[Request] = []
    for number, line in enumerate(data.splitlines(), 1):
        if not line.strip():
            continue
        try:
            requests.append(decode_request(line).request)
        except DecodeError as error:
            raise UsageError(f"{file} line {number} is no envelope: {error}") from error
    if not requests:
        raise UsageError(f"{file} holds no envelope")
    return requests


def _show(router: Router, asked: Asked, output: Output) -> bool:
    """Print one message's way; whether it has one."""
    request = asked.request
    decision = router.decide(asked)
    rules, guess = router.explain(asked), router.guess(asked)
    if output is Output.JSON:
        shown: dict[str, Any] = {
            "message_id": request.message_id,
            "target": decision.target if decision else None,
            "rule": decision.rule if decision else None,
            "confidence": decision.confidence if decision else None,
            "intent": guess and {"name": guess.intent, "confidence": round(guess.confidence, 4)},
            "rules": [
                {"rule": rule.rule, "target": rule.target, "matched": rule.matched, "why": rule.why}
                for rule in rules
            ],
        }
        print_json(shown)
    else:
        where = (
            f"{decision.target} (rule {decision.rule})"
            if decision
            else f"nowhere: {router.why_nowhere(asked)}"
        )
        about = f"; intent {guess.intent}, confidence {guess.confidence:.2f}" if guess else ""
        console().print(
            Text(f"{request.message_id} goes to {where}{about}"),
            _table(rules, decision.rule if decision else None),
        )
    return decision is not None


def _table(rules: list[Explanation], chosen: str | None) -> Table:
    table = Table("", "rule", "target", "matched", "why")
    for rule in rules:
        mark = "→" if rule.rule == chosen else ""
        table.add_row(mark, rule.rule, rule.target, "yes" if rule.matched else "no", Text(rule.why))
    return table
