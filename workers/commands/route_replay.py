"""`relayfleet route replay`: what another topology would do with requests that were made."""

from pathlib import Path
from typing import Annotated

import typer

from schemas.codec import decode_request
from schemas.errors import DecodeError
from workers import assembly
from workers.commands.route_moves import Moves
from workers.core.clock import SystemClock
from workers.core.errors import UsageError
from workers.core.exit_codes import ExitCode
from workers.core.logging import configure_logging
from workers.core.ports import Reader
from workers.core.records import Received
from workers.core.settings import Settings
from workers.core.topology.model import Topology
from workers.core.topology.values import parse_duration
from workers.policies.route import Router, compile_routes
from workers.policies.subject import Asked
from workers.shell import KafkaOption, Output, OutputOption, console, load, print_json, run

_BEGINNING = "beginning"


def replay(
    topic: Annotated[str, typer.Argument(help="A topic of requests, such as model_requests.")],
    topology: Annotated[
        Path, typer.Option("--topology", "-t", metavar="NEW.yaml", help="The topology to try.")
    ],
    current: Annotated[
        Path | None,
        typer.Option(
            "--current",
            metavar="FILE",
            help="The topology to compare with.",
            show_default="topology.yaml or $RELAYFLEET_TOPOLOGY",
        ),
    ] = None,
    number: Annotated[int | None, typer.Option("-n", min=1, help="Only the last N requests.")] = None,
    since: Annotated[
        str | None, typer.Option("--since", metavar="DURATION", help="Only those of the last 24h, 30m, …")
    ] = None,
    kafka: KafkaOption = None,
    output: OutputOption = Output.TABLE,
) -> None:
    """Run a new topology over the requests of a topic and print which would go elsewhere. Changes and sends nothing.

    Every request is taken as routed when it was made. Exits 3 where a message would go to another target.
    """
    configure_logging("route", level="warning")

    async def main() -> ExitCode:
        settings = Settings.read()
        oldest = _oldest(since)
        now, then = load(current, settings), load(topology, settings)
        routers = _router(now, settings), _router(then, settings)
        start_at = _BEGINNING if number is None else number
        async with assembly.open_reader(now, settings, kafka, [topic], start_at=start_at) as reader:
            moves, unreadable = await _compare(reader, *routers, oldest=oldest, number=number)
        if output is Output.JSON:
            print_json({**moves.as_json(), "unreadable": unreadable})
        else:
            console().print(moves.summary() + (f"; {unreadable:,} could not be read" if unreadable else ""))
            if moves.counts:
                console().print(moves.as_table())
        return ExitCode.DIFFERENT if moves.to_other_targets else ExitCode.DONE

    run(main)


def _oldest(since: str | None) -> float:
    """Epoch milliseconds."""
    if since is None:
        return 0.0
    try:
        seconds = parse_duration(since)
    except ValueError as error:
        raise UsageError(f"--since: {error}") from error
    return (SystemClock().wall() - float(str(seconds))) * 1000


def _router(topology: Topology, settings: Settings) -> Router:
    return compile_routes(topology, assembly.open_classifier(topology, settings))


async def _compare(
    reader: Reader, now: Router, then: Router, *, oldest: float, number: int | None
) -> tuple[Moves, int]:
    """Compare what is on the topic by now, batch by batch; with `number` the newest so many."""
    moves, unreadable, kept = Moves(), 0, []
    while not reader.at_end:
        records = [record for record in await reader.read(0.2) if record.timestamp_ms >= oldest]
        if number is None:
            unreadable += _count(moves, now, then, records)
        else:
            kept += records
    if number is not None:
        kept = sorted(kept, key=lambda record: record.timestamp_ms)[-number:]
        unreadable += _count(moves, now, then, kept)
    return moves, unreadable


def _count(moves: Moves, now: Router, then: Router, records: list[Received]) -> int:
    """Count these; returns how many could not be read."""
    asked = []
    for record in records:
        try:
            request = decode_request(record.value, record.headers).request
        except DecodeError:
            continue
        asked.append(Asked(request, record.headers, record.timestamp_ms / 1000))
    moves.compare(now, then, asked)
    return len(records) - len(asked)
