"""`relayfleet dlq replay`, and with it every command that changes something: `app` holds them all."""

import asyncio
import os
import re
import signal
from pathlib import Path
from typing import Annotated

import typer

from dlq_tools import jobs_cli, mend_cli, settle_cli
from dlq_tools.ledger_records import Job, JobState
from dlq_tools.mend import describe
from dlq_tools.opening import open_surroundings
from dlq_tools.replay_options import (
    Chosen,
    LettersArgument,
    SinceOption,
    TopicsOption,
    UntilOption,
    WhereOption,
    YesOption,
)
from dlq_tools.replay_run import Orders, ReplayRun, Report
from dlq_tools.replay_view import progress_bar, show_preview, show_report
from dlq_tools.selecting import IndexSelection
from dlq_tools.surroundings import Surroundings
from workers.core.clock import SystemClock
from workers.core.errors import UsageError
from workers.core.exit_codes import ExitCode
from workers.core.logging import configure_logging
from workers.core.settings import Settings
from workers.core.topology.names import Names
from workers.shell import KafkaOption, Output, OutputOption, TopologyOption, load, run

app = typer.Typer()

_RATE = re.compile(r"(\d+(?:\.\d+)?)(?:/(s|m|h))?")
_PER = {"s": 1, "m": 60, "h": 3600, None: 1}


@app.command()
def replay(
    letters: LettersArgument = None,
    topic: TopicsOption = None,
    where: WhereOption = None,
    since: SinceOption = None,
    until: UntilOption = None,
    to: Annotated[
        str | None,
        typer.Option(help="A target or a topic.", show_default="the failing target's own topic"),
    ] = None,
    rate: Annotated[str | None, typer.Option(metavar="N/s", help="Send no faster: 50/s, 600/m.")] = None,
    most: Annotated[int | None, typer.Option("--max", min=1, help="Send no more than so many.")] = None,
    job: Annotated[str | None, typer.Option(help="The job's name.", show_default="made up")] = None,
    resume: Annotated[bool, typer.Option("--resume", help="Go on with a job, as it was told then.")] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only say what would be sent.")] = False,
    yes: YesOption = False,
    wait: Annotated[bool, typer.Option("--wait", help="Wait for the outcomes and count them.")] = False,
    timeout: Annotated[
        float, typer.Option(min=0.1, help="With --wait: give up after so many seconds without an outcome.")
    ] = 120.0,
    renew: Annotated[
        bool, typer.Option("--renew", help="Give expired messages new time: this changes their timestamp.")
    ] = False,
    again: Annotated[bool, typer.Option("--again", help="Also letters that were replayed before.")] = False,
    max_replays: Annotated[
        int, typer.Option(min=1, help="A message that was replayed so often is parked.")
    ] = 3,
    max_failed: Annotated[
        float, typer.Option(min=0.0, max=1.0, help="Stop when so much of the last 200 outcomes failed again.")
    ] = 0.5,
    sets: Annotated[
        list[str] | None, typer.Option("--set", metavar="FIELD=VALUE", help="Change a field: payload.text=…")
    ] = None,
    jq: Annotated[str | None, typer.Option("--jq", metavar="EXPR", help="Change with a jq program.")] = None,
    transform: Annotated[
        Path | None, typer.Option(metavar="FILE.py", help="Change with its function transform(envelope).")
    ] = None,
    topology: TopologyOption = None,
    kafka: KafkaOption = None,
    output: OutputOption = Output.TABLE,
) -> None:
    """Send dead letters again, to where they failed.

    More than one is only looked at until --yes. Every letter is sent once, however often the command is killed and
    resumed, and whoever else replays at the same time. Exits 0 when all was sent (with --wait: answered), 1 when some
    stayed or failed again, 2 for bad input, 4 when Kafka can't be reached.
    """
    configure_logging("dlq", level="warning")
    chosen = Chosen(letters or (), topic or (), where, since, until)

    async def main() -> ExitCode:
        settings, clock = Settings.read(), SystemClock()
        loaded = load(topology, settings)
        spec = chosen.spec(Names(loaded).dead_letters, clock).model_copy(
            update={
                "to": to,
                "rate": _per_second(rate),
                "most": most,
                "renew": renew,
                "again": again,
                "max_replays": max_replays,
                "max_failed": max_failed,
                "changes": describe(sets or (), jq, transform),
            }
        )
        async with open_surroundings(loaded, settings, kafka) as around:
            command = ReplayRun(around, loaded, selection_of(around, settings))
            begun = command.known_job(job) if resume else await command.new_job(job, spec)
            send = False if dry_run else (yes or resume or None)
            return await _replayed(command, begun, Orders(send, timeout if wait else None), output)

    run(main)


async def _replayed(command: ReplayRun, job: Job, orders: Orders, output: Output) -> ExitCode:
    with progress_bar(output) as watch:
        report = await command.run(job, orders, stopped_by_signal(), watch)
    if report.state is None:
        show_preview(report, output)
        return ExitCode.DONE
    show_report(report, output, waited=orders.wait is not None)
    return _exit_code(report, waited=orders.wait is not None)


def _exit_code(report: Report, *, waited: bool) -> ExitCode:
    whole = report.state in {JobState.DONE, JobState.SENT}
    fine = whole and not +report.progress.kept and not report.failed_again
    return ExitCode.DONE if fine and not (waited and report.pending) else ExitCode.FAILED


def selection_of(around: Surroundings, settings: Settings) -> IndexSelection:
    """The selection behind every command."""
    return IndexSelection(around, settings.home)


def stopped_by_signal() -> asyncio.Event:
    """Set by SIGTERM or Ctrl-C, so that the batch is finished; a second one ends the process as it is."""
    stop = asyncio.Event()

    def on_signal() -> None:
        if stop.is_set():
            os._exit(ExitCode.ABORTED)
        stop.set()

    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, on_signal)
    return stop


def _per_second(text: str | None) -> float | None:
    if text is None:
        return None
    found = _RATE.fullmatch(text.strip())
    if found is None or not float(found[1]):
        raise UsageError(f"--rate {text!r} is no rate: give 50/s, 600/m or 1000/h")
    return float(found[1]) / _PER[found[2]]


for other in (mend_cli.app, settle_cli.app, jobs_cli.app):
    app.registered_commands += other.registered_commands
    app.registered_groups += other.registered_groups
