"""What `relayfleet up` shows: a table that lives on a terminal, plain lines elsewhere."""

import json
from collections.abc import Sequence
from typing import Protocol

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.spinner import Spinner
from rich.table import Table
from rich.text import Text

from workers.commands.up_examples import Example, Outcome
from workers.local.supervisor import Change, State

_COLOURS = {Outcome.ANSWERED: "green", Outcome.ERROR: "red", Outcome.DEAD_LETTER: "magenta"}
_LINES_KEPT = 5  # of the terminal's height, for what is not a row


class View(Protocol):
    """Shows a fleet coming up and its examples passing through."""

    def say(self, text: str) -> None:
        """One line for people."""

    def change(self, change: Change, detail: str = "") -> None:
        """A part changed; `detail` is where it listens, say."""

    def begin(self, count: int) -> None:
        """The examples start."""

    def waiting(self, examples: Sequence[Example]) -> None:
        """These are under way."""

    def finished(self, example: Example) -> None:
        """One has its outcome."""

    def end(self) -> None:
        """No more examples."""


def open_view(console: Console) -> View:
    """The view for this console."""
    return TerminalView(console) if console.is_terminal else PlainView(console)


class PlainView:
    """Lines of `word key=value …`, for logs and scripts; values with spaces are JSON strings."""

    def __init__(self, console: Console) -> None:
        self._console = console

    def say(self, text: str) -> None:
        """See `View`."""
        self._print(text)

    def change(self, change: Change, detail: str = "") -> None:
        """See `View`."""
        fields = {"part": change.name, "state": change.state.value}
        if change.state is not State.STARTING and change.state is not State.STOPPING:
            fields["seconds"] = f"{change.seconds:.1f}"
        self._fields("part", fields | {"at": detail, "why": change.why})

    def begin(self, count: int) -> None:
        """See `View`."""
        self._print(f"examples count={count}")

    def waiting(self, examples: Sequence[Example]) -> None:
        """See `View`: nothing, only what is done makes a line."""

    def finished(self, example: Example) -> None:
        """See `View`."""
        assert example.outcome is not None  # noqa: S101 - finished
        fields = {
            "id": example.message_id,
            "source": example.source,
            "rule": example.rule,
            "target": example.target,
            "ms": f"{example.ms or 0:.0f}",
            "text": example.text,
        }
        self._fields(example.outcome.value, fields)

    def end(self) -> None:
        """See `View`."""

    def _fields(self, word: str, fields: dict[str, str]) -> None:
        shown = (f"{name}={_quoted(value)}" for name, value in fields.items() if value)
        self._print(f"{word} {' '.join(shown)}")

    def _print(self, line: str) -> None:
        self._console.print(line, markup=False, highlight=False, soft_wrap=True)


class TerminalView:
    """Finished examples scroll by as rows; those under way live below them, never more than the terminal is high."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._live: Live | None = None
        self._total = self._done = 0

    def say(self, text: str) -> None:
        """See `View`."""
        self._console.print(text, highlight=False)

    def change(self, change: Change, detail: str = "") -> None:
        """See `View`."""
        mark, style = _MARKS[change.state]
        line = Text.assemble((f" {mark} ", style), (f"{change.name:<14}", "bold"), _wording(change))
        if detail:
            line.append(f"  {detail}", "dim")
        self._console.print(line, highlight=False)

    def begin(self, count: int) -> None:
        """See `View`."""
        self._total, self._done = count, 0
        header = _grid(self._console.width)
        header.add_row(
            *(Text(name, "bold") for name in ("id", "source", "question", "rule > target", "time", "outcome"))
        )
        self._console.print(header)
        self._live = Live(console=self._console, transient=True, refresh_per_second=8)
        self._live.start()

    def waiting(self, examples: Sequence[Example]) -> None:
        """See `View`."""
        if self._live is not None:
            self._live.update(self._under_way(examples))

    def finished(self, example: Example) -> None:
        """See `View`."""
        self._done += 1
        row = _grid(self._console.width)
        assert example.outcome is not None  # noqa: S101 - finished
        row.add_row(*_cells(example), _time(example), Text(example.text, _COLOURS[example.outcome]))
        self._console.print(row)

    def end(self) -> None:
        """See `View`."""
        if self._live is not None:
            self._live.stop()
            self._live = None

    def _under_way(self, examples: Sequence[Example]) -> RenderableType:
        room = max(1, self._console.height - _LINES_KEPT)
        grid = _grid(self._console.width)
        for example in examples[:room]:
            grid.add_row(*_cells(example), Text(), Text(f"{example.stage} …", "dim"))
        hidden = f", {len(examples) - room} of them not shown" if len(examples) > room else ""
        progress = f" {self._done} of {self._total} done, {len(examples)} under way{hidden}"
        return Group(grid, Spinner("dots", Text(progress, "dim")))


_MARKS = {
    State.STARTING: ("…", "dim"),
    State.READY: ("✔", "green"),
    State.WAITING: ("!", "yellow"),
    State.STOPPING: ("…", "dim"),
    State.STOPPED: ("■", "dim"),
    State.FAILED: ("✘", "red"),
}


def _wording(change: Change) -> str:
    match change.state:
        case State.READY:
            return f"ready in {change.seconds:.1f} s"
        case State.WAITING:
            return f"started again in {change.seconds:.1f} s: {change.why}"
        case State.STOPPED:
            return f"stopped in {change.seconds:.1f} s{f' ({change.why})' if change.why else ''}"
        case State.FAILED:
            return f"failed: {change.why}"
        case _:
            return str(change.state.value)


_WIDE = 100  # columns


def _grid(width: int) -> Table:
    """A row of the table; every row is a table of its own, so the columns' widths must not depend on the content."""
    fixed = (14, 7, 21 if width >= _WIDE else 14, 8)
    flexible = max(20, width - sum(fixed) - 5)
    question = flexible * 2 // 5
    grid = Table.grid(padding=(0, 1, 0, 0))
    for size in (fixed[0], fixed[1], question, fixed[2]):
        grid.add_column(width=size, no_wrap=True, overflow="ellipsis")
    grid.add_column(width=fixed[3], no_wrap=True, justify="right")
    grid.add_column(width=flexible - question, no_wrap=True, overflow="ellipsis")
    return grid


def _cells(example: Example) -> tuple[Text, Text, Text, Text]:
    way = f"{example.rule} > {example.target}" if example.target else ""
    return Text(example.message_id), Text(example.source), Text(example.question), Text(way, "cyan")


def _time(example: Example) -> Text:
    ms = example.ms or 0
    return Text(f"{ms / 1000:.2f} s" if ms >= 1000 else f"{ms:.0f} ms")


def _quoted(value: str) -> str:
    plain = value.isprintable() and not set(value) & set(' "=\\')
    return value if plain else str(json.dumps(value, ensure_ascii=False))
