"""Outcomes as people and machines read them."""

from rich.table import Table
from rich.text import Text

from schemas.response import Response
from workers.core.redact import redact
from workers.shell import Output, console, print_json


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
        several = len(self._rows) > 1
        table = Table(box=None, pad_edge=False, header_style="bold")
        table.add_column("message", no_wrap=True, overflow="ellipsis", max_width=24 if several else None)
        for column in ("target", "rule"):
            table.add_column(column, no_wrap=True)
        table.add_column("ms", justify="right")
        # Of several a line each, to look over; of one all that it says.
        table.add_column("outcome", no_wrap=several, overflow="ellipsis" if several else "fold")
        for response in self._rows:
            table.add_row(*response_cells(response))
        console().print(table)


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
