"""`relayfleet dlq jobs` and `relayfleet dlq audit`."""

from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Annotated, Any

import typer
from rich.table import Table

from dlq_tools.follow import causes, is_open
from dlq_tools.lease import is_running
from dlq_tools.ledger_records import Job, JobState, State
from dlq_tools.opening import open_surroundings
from dlq_tools.printing import wide_console
from dlq_tools.replay_run import ReplayRun
from dlq_tools.replay_view import outcome_lines
from dlq_tools.selecting import IndexSelection
from dlq_tools.surroundings import Surroundings
from dlq_tools.times import parse_time
from workers.core.exit_codes import ExitCode
from workers.core.logging import configure_logging
from workers.core.settings import Settings
from workers.shell import KafkaOption, Output, OutputOption, TopologyOption, console, load, print_json, run

app = typer.Typer()
jobs = typer.Typer(help="Replays: which there are, how far they are, ending them.", no_args_is_help=True)
app.add_typer(jobs, name="jobs")


@jobs.command("list")
def list_(
    topology: TopologyOption = None, kafka: KafkaOption = None, output: OutputOption = Output.TABLE
) -> None:
    """All replays on record, the latest first."""

    async def main() -> None:
        settings = Settings.read()
        async with open_surroundings(load(topology, settings), settings, kafka) as around:
            found = sorted(around.ledger.state.jobs.values(), key=lambda job: -job.at)
            rows = [_row(around, job) for job in found]
        _print(rows, "jobs", output)

    configure_logging("dlq", level="warning")
    run(main)


@jobs.command()
def show(
    name: Annotated[str, typer.Argument(help="The job.")],
    topology: TopologyOption = None,
    kafka: KafkaOption = None,
    output: OutputOption = Output.TABLE,
) -> None:
    """One replay: what it was told, and what became of its letters up to now."""

    async def main() -> None:
        settings = Settings.read()
        loaded = load(topology, settings)
        async with open_surroundings(loaded, settings, kafka) as around:
            selection = IndexSelection(around, settings.home)
            command = ReplayRun(around, loaded, selection)
            job = command.known_job(name, ended=True)
            open_ = any(is_open(row, job.looked_at) for _, row in around.ledger.state.rows(name))
            if open_ and not is_running(around.ledger, name):
                await command.catch_up(job)
            found = {**_row(around, job), "spec": job.spec.model_dump(mode="json", exclude_defaults=True)}
            rows = [row for _, row in around.ledger.state.rows(name)]
        if output is Output.JSON:
            print_json({**found, "causes": dict(causes(rows))})
            return
        for key, value in found.items():
            console().print(f"{key.replace('_', ' '):>12}  {value}", highlight=False, markup=False)
        pending = int(found["pending"])
        for line in outcome_lines(found["answered"], found["failed_again"], pending, causes(rows)):
            console().print(line, highlight=False, markup=False)

    configure_logging("dlq", level="warning")
    run(main)


@jobs.command()
def cancel(
    name: Annotated[str, typer.Argument(help="The job.")],
    topology: TopologyOption = None,
    kafka: KafkaOption = None,
    output: OutputOption = Output.TABLE,
) -> None:
    """End a replay: a running one stops after its batch, a killed one gives its letters back.

    What was sent stays sent.
    """

    async def main() -> ExitCode:
        settings = Settings.read()
        loaded = load(topology, settings)
        async with open_surroundings(loaded, settings, kafka) as around:
            selection = IndexSelection(around, settings.home)
            command = ReplayRun(around, loaded, selection)
            job = await command.cancel(command.known_job(name, ended=True))
            found = _row(around, job)
        if output is Output.JSON:
            print_json(found)
        else:
            console().print(f"job {name} is cancelled; {found['sent']:,} were sent", highlight=False)
        return ExitCode.DONE

    configure_logging("dlq", level="warning")
    run(main)


@app.command()
def audit(
    since: Annotated[
        str | None, typer.Option("--since", help="From this time on: 30m, 2h, 2026-01-31.")
    ] = None,
    action: Annotated[
        str | None, typer.Option("--action", help="One of replay, discard, purge, edit, cancel, look.")
    ] = None,
    topology: TopologyOption = None,
    kafka: KafkaOption = None,
    output: OutputOption = Output.TABLE,
) -> None:
    """Who did what with dead letters, and when."""

    async def main() -> None:
        settings = Settings.read()
        async with open_surroundings(load(topology, settings), settings, kafka) as around:
            first = 0 if since is None else parse_time(since, around.ledger.now_ms, "--since")
            events = sorted(around.ledger.state.audits.values(), key=lambda event: event.at)
        rows = [
            {
                "at": _time(event.at),
                "who": event.who,
                "action": event.action,
                "what": event.what,
                "job": event.job,
                "count": event.count,
            }
            for event in events
            if event.at >= first and action in {None, event.action}
        ]
        _print(rows, "events", output)

    configure_logging("dlq", level="warning")
    run(main)


def _row(around: Surroundings, job: Job) -> dict[str, Any]:
    counts = around.ledger.state.count(job.name)
    state = job.state.value
    if job.state is JobState.RUNNING and not is_running(around.ledger, job.name):
        state = "killed"  # `--resume` goes on with it
    return {
        "job": job.name,
        "state": state,
        "who": job.who,
        "began": _time(job.at),
        "changed": _time(job.changed_at),
        "sent": counts[State.REPLAYED] + counts[State.ANSWERED] + counts[State.FAILED_AGAIN],
        "answered": counts[State.ANSWERED],
        "failed_again": counts[State.FAILED_AGAIN],
        "pending": counts[State.REPLAYED],
    }


def _time(milliseconds: int) -> str:
    return datetime.fromtimestamp(milliseconds / 1000, tz=UTC).isoformat(timespec="seconds")


def _print(rows: list[dict[str, Any]], name: str, output: Output) -> None:
    if output is Output.JSON:
        print_json({name: rows})
        return
    if not rows:
        console().print(f"no {name}")
        return
    table = Table(box=None, pad_edge=False, header_style="bold")
    for column in rows[0]:
        table.add_column(column.replace("_", " "), overflow="fold", no_wrap=column == "job")
    for row in rows:
        table.add_row(*_cells(row))
    wide_console().print(table)


def _cells(row: dict[str, Any]) -> Iterator[str]:
    for value in row.values():
        yield "-" if value is None else str(value).replace("[", "\\[")
