"""`relayfleet topology`: check the topology file, and bring a cluster to what it says."""

import asyncio
import sys
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any

import typer

from workers import assembly
from workers.commands.topology_live import Live, drop, look, refuse
from workers.commands.topology_view import (
    as_json,
    print_difference,
    print_problems,
    print_settings,
    print_valid,
)
from workers.core.errors import UsageError
from workers.core.exit_codes import ExitCode
from workers.core.logging import configure_logging
from workers.core.settings import Settings
from workers.core.topology.difference import Difference, difference
from workers.core.topology.difference import apply as apply_actions
from workers.core.topology.editor_schema import render_schema
from workers.core.topology.load import load_topology
from workers.core.topology.model import Topology
from workers.core.topology.problems import TopologyError
from workers.core.topology.topics import wanted_topics
from workers.shell import KafkaOption, Output, OutputOption, TopologyOption, print_json, run

app = typer.Typer(
    help="Check the topology file, and bring a cluster to what it says. Nothing is ever deleted.",
    no_args_is_help=True,
)

YesOption = Annotated[bool, typer.Option("--yes", "-y", help="Do it without asking.")]
DropOption = Annotated[
    list[str] | None,
    typer.Option(
        "--drop-work",
        metavar="TARGET",
        help="Give up the messages of a target that the file has no more: they stay in Kafka, unanswered.",
    ),
]
DryRunOption = Annotated[bool, typer.Option("--dry-run", help="Show what would be done, and do nothing.")]


@app.command()
def validate(topology: TopologyOption = None, output: OutputOption = Output.TABLE) -> None:
    """Check the file: every problem with its line and field. Needs no Kafka. Exits 2 where the file is refused."""
    settings = Settings.read()
    path = topology or settings.topology
    try:
        loaded = load_topology(path, settings.environment)
    except TopologyError as error:
        if output is Output.JSON:
            problems = [asdict(problem) for problem in error.problems]
            print_json({"valid": False, "file": str(path), "problems": problems})
        else:
            print_problems(error)
        raise typer.Exit(ExitCode.USAGE) from None
    if output is Output.JSON:
        print_json({"valid": True, "file": str(path), "problems": []})
    else:
        print_valid(path, loaded)


@app.command()
def show(topology: TopologyOption = None, output: OutputOption = Output.TABLE) -> None:
    """Show the file as it is understood: references followed, defaults filled in, secrets masked, topics derived."""
    loaded = _load(topology, Settings.read())
    if output is Output.JSON:
        print_json(
            {"topology": as_json(loaded), "topics": [asdict(topic) for topic in wanted_topics(loaded)]}
        )
    else:
        print_settings(loaded)


@app.command()
def diff(
    topology: TopologyOption = None, kafka: KafkaOption = None, output: OutputOption = Output.TABLE
) -> None:
    """Show what differs between the file and a cluster's topics. Exits 0 where nothing does, else 3."""
    settings, loaded = _start(topology)

    async def main() -> ExitCode:
        async with assembly.open_admin(loaded, settings, kafka) as admin:
            found = difference(wanted_topics(loaded), await admin.topics())
        _print(found, output, {"differs": found.differs})
        return ExitCode.DIFFERENT if found.differs else ExitCode.DONE

    run(main)


@app.command()
def apply(
    topology: TopologyOption = None,
    kafka: KafkaOption = None,
    yes: YesOption = False,
    dry_run: DryRunOption = False,
    drop_work: DropOption = None,
    output: OutputOption = Output.TABLE,
) -> None:
    """Create what is missing and change what differs. Deletes nothing; what that forbids is said, and exits 1.

    Running processes follow the file by themselves; this says what of it needs a restart, and refuses while a target
    that the file has no more still has messages.
    """
    settings, loaded = _start(topology)

    async def main() -> ExitCode:
        async with assembly.open_admin(loaded, settings, kafka) as admin:
            found = difference(wanted_topics(loaded), await admin.topics())
            live = await look(loaded, settings, kafka, found.unknown)
            if refuse(live, drop_work or ()) and not dry_run:
                return ExitCode.FAILED
            apply_it = bool(found.actions) and not dry_run
            if output is Output.TABLE:
                print_difference(found)
            if apply_it and not yes and not await _confirmed(output, len(found.actions)):
                return ExitCode.FAILED
            if apply_it:
                await apply_actions(found.actions, admin)
        if drop_work and not dry_run:
            await drop(loaded, settings, kafka, drop_work)
        _report(found, live, output, applied=apply_it)
        return ExitCode.FAILED if found.refusals and not dry_run else ExitCode.DONE

    run(main)


@app.command()
def schema() -> None:
    """Print the JSON Schema of the file, for editors."""
    sys.stdout.write(render_schema())


def _start(topology: Path | None) -> tuple[Settings, Topology]:
    configure_logging("topology", level="error")
    settings = Settings.read()
    return settings, _load(topology, settings)


def _load(topology: Path | None, settings: Settings) -> Topology:
    try:
        return load_topology(topology or settings.topology, settings.environment)
    except TopologyError as error:
        print_problems(error)
        raise typer.Exit(ExitCode.USAGE) from None


def _print(found: Difference, output: Output, extra: dict[str, Any]) -> None:
    if output is Output.JSON:
        print_json({**extra, **found.as_json()})
    else:
        print_difference(found)


def _report(found: Difference, live: Live, output: Output, *, applied: bool) -> None:
    if output is Output.JSON:
        print_json({"applied": applied, **found.as_json(), **live.as_json()})
        return
    if applied:
        typer.echo(f"done: {len(found.actions)} changes")
    live.print()


async def _confirmed(output: Output, changes: int) -> bool:
    """Ask a person; where there is none, say how to go on without."""
    if output is Output.JSON or not sys.stdin.isatty():
        raise UsageError("nobody is there to confirm: add --yes to apply, or --dry-run to look")
    return await asyncio.to_thread(typer.confirm, f"Apply {changes} changes?")
