"""What a replay shows: what it would do, how far it is, how it ended."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager

from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeRemainingColumn
from rich.progress import Progress as Bar

from dlq_tools.ledger_records import JobState
from dlq_tools.preview import Preview
from dlq_tools.replay import Progress
from dlq_tools.replay_run import Report, Watch
from workers.shell import Output, console, print_json


def show_preview(report: Report, output: Output) -> None:
    """What would be sent. Nothing was."""
    preview = report.preview
    if output is Output.JSON:
        print_json({**preview.as_json(), **report.as_json()})
        return
    out = console()
    out.print(
        f"[bold]{_letters(preview.selected)} selected[/], {preview.sendable:,} would be sent", highlight=False
    )
    for topic, count in preview.destinations.most_common():
        out.print(f"  to {topic}: {count:,}", highlight=False, markup=False)
    for line in [] if preview.estimate is None else preview.estimate.lines():
        out.print(f"  {line}", highlight=False, markup=False)
    for why, count in preview.kept.most_common():
        reason = preview.reasons[why]
        out.print(
            f"  {count:,} stay ({why.value.replace('_', ' ')}): {reason}", highlight=False, markup=False
        )
    for state, count in preview.left_out.most_common():
        out.print(f"  {count:,} are not selected: {state.value.replace('_', ' ')}", highlight=False)
    for each in preview.sample:
        line = f"  {each['letter']}  {each['message_id'] or '-'}  replay {each['replay']}"
        out.print(line, style="dim", highlight=False, markup=False)
    out.print("nothing was sent" + ("; [bold]--yes[/] sends" if preview.sendable else ""))


def show_report(report: Report, output: Output, *, waited: bool) -> None:
    """How a run ended."""
    if output is Output.JSON:
        print_json(report.as_json())
        return
    out = console()
    for line in _report_lines(report, waited=waited):
        out.print(line, highlight=False, markup=False)


def _report_lines(report: Report, *, waited: bool) -> Iterator[str]:
    progress = report.progress
    yield f"{report.sent:,} of {report.selected:,} sent"
    if progress.resumed:
        yield f"  {progress.resumed:,} of them by an earlier run that was cut off"
    if report.maybe_twice:
        yield f"  {report.maybe_twice:,} of them maybe twice; the target tells by the message id"
    for why, count in (+progress.kept).items():
        reason = report.preview.reasons.get(why, "see `relayfleet dlq show`")
        yield f"  {count:,} stay ({why.value.replace('_', ' ')}): {reason}"
    if waited or report.answered or report.failed_again:
        yield from outcome_lines(report.answered, report.failed_again, report.pending, report.causes)
    yield from _next_steps(report)


def _next_steps(report: Report) -> Iterator[str]:
    name = report.job.name
    if report.state is JobState.STOPPED:
        yield "stopped: too much fails again; understand why, then go on with"
    if report.state in {JobState.STOPPED, JobState.PAUSED}:
        yield f"relayfleet dlq replay --job {name} --resume"
    elif report.pending:
        yield f"relayfleet dlq jobs show {name} tells what became of them"


def outcome_lines(answered: int, failed: int, pending: int, causes: Mapping[str, int]) -> Iterator[str]:
    """What became of a job's messages, the failures by cause."""
    kinds = len(causes)
    why = f" ({kinds} {'cause' if kinds == 1 else 'causes'})" if kinds else ""
    left = f", {pending:,} without an outcome" if pending else ""
    yield f"{answered:,} answered, {failed:,} failed again{why}{left}"
    for reason, count in sorted(causes.items(), key=lambda item: -item[1]):
        yield f"  {count:,} x {reason}"


def _letters(count: int) -> str:
    return f"{count:,} dead letter{'' if count == 1 else 's'}"


@contextmanager
def progress_bar(output: Output) -> Iterator[Watch]:
    """A bar on a terminal, nothing elsewhere."""
    bar = Bar(
        TextColumn("sending"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeRemainingColumn(),
        console=console(),
        transient=True,
        disable=output is Output.JSON or not console().is_terminal,
    )
    with bar:
        task = bar.add_task("sending", total=None)

        def watch(progress: Progress, preview: Preview) -> None:
            bar.update(task, completed=progress.sent + progress.kept.total(), total=preview.selected)

        yield watch
