"""Outcomes as people and machines read them."""

from rich.table import Table
from rich.text import Text

from schemas.response import Response
from workers.core.redact import redact
from workers.shell import Output, console, print_json

_WIDEST = 24  # characters of a column other than the outcome


class OutcomeTable:
    """Collects responses: JSON lines at once, or a table in the end."""

    def __init__(self, output: Output) -> None:
        self._output = output
        self._rows: list[Response] = []

    def add(self, response: Response) -> None:
        """Take one response."""
        if self._output is Output.JSON:
            print_json(response.model_dump_wire())
        else:
            self._rows.append(response)

    def missing(self, message_id: str, waited: float) -> None:
        """Say that no outcome came in time."""
        if self._output is Output.JSON:
            print_json({"message_id": message_id, "status": "missing", "waited_s": waited})
        else:
            console().print(f"[yellow]{message_id}: no outcome within {waited:g} s[/]")

    def print(self) -> None:
        """Print the table, where there is one."""
        if not self._rows:
            return
        console().print(_rows_of(self._rows) if len(self._rows) > 1 else _all_of(self._rows[0]))


_COLUMNS = ("message", "target", "rule", "ms", "outcome")


def _rows_of(responses: list[Response]) -> Table:
    """A line each, to look over: what is too long for the terminal is cut off its outcome."""
    table = Table(box=None, pad_edge=False, header_style="bold", expand=True)
    for column in _COLUMNS[:3]:
        table.add_column(column, no_wrap=True, overflow="ellipsis", max_width=_WIDEST)
    table.add_column("ms", no_wrap=True, justify="right")
    table.add_column("outcome", no_wrap=True, overflow="ellipsis", ratio=1)
    for response in responses:
        table.add_row(*response_cells(response))
    return table


def _all_of(response: Response) -> Table:
    """A line for each thing that it says, in full."""
    table = Table.grid(padding=(0, 2, 0, 0))
    table.add_column(style="bold", no_wrap=True)
    table.add_column(overflow="fold")
    for column, cell in zip(_COLUMNS, response_cells(response), strict=True):
        table.add_row(column, cell)
    return table


def response_cells(response: Response) -> tuple[Text, Text, Text, Text, Text]:
    """Id, target, rule, total milliseconds, and the answer or the error, as table cells."""
    total = response.timing.total
    return (
        Text(response.message_id),
        Text(response.route.target or "-"),
        Text(response.route.rule or "-"),
        Text(f"{total:,.0f}" if total is not None else "-"),
        outcome_text(response),
    )


def outcome_text(response: Response) -> Text:
    """The answer in green, or the error in red."""
    error = response.payload.error
    if error is not None:
        return Text(f"{error.code}: {redact(error.reason)}", style="red")
    return Text(" ".join((response.payload.text or "").split()), style="green")
