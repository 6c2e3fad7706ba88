"""How the commands print: a table for people, one JSON object, or one JSON object a line."""

import sys
from collections.abc import Iterable, Mapping, Sequence
from enum import StrEnum
from typing import Annotated, Any

import orjson
import typer
from rich.console import Console
from rich.table import Table
from rich.text import Text

from workers.shell import console, print_json


class Format(StrEnum):
    """How a command prints its result."""

    TABLE = "table"
    JSON = "json"
    NDJSON = "ndjson"


FormatOption = Annotated[
    Format,
    typer.Option("--output", "-o", help="A table for people, one JSON object, or one JSON object a line."),
]


def emit(
    form: Format,
    name: str,
    rows: Iterable[Mapping[str, Any]],
    columns: Sequence[str],
    about: Mapping[str, Any] | None = None,
) -> None:
    """Print rows: `{about…, name: [rows]}`, or a row a line, or these columns of them as a table."""
    if form is Format.JSON:
        print_json({**(about or {}), name: list(rows)})
    elif form is Format.NDJSON:
        for row in rows:
            sys.stdout.buffer.write(orjson.dumps(row, option=orjson.OPT_APPEND_NEWLINE))
        sys.stdout.buffer.flush()
    else:
        wide_console().print(_table(rows, columns))


def wide_console() -> Console:
    """Standard output; where it is no terminal, as wide as it takes, so that positions can be cut out of it."""
    return console() if sys.stdout.isatty() else Console(soft_wrap=True, width=_WIDE)


_WIDE = 2000
_WHOLE = frozenset(
    {"position", "fingerprint", "example", "topic", "count"}
)  # to be copied: never over two lines


def emit_one(form: Format, found: Mapping[str, Any]) -> None:
    """Print one thing: as JSON, or a line a field, those that are not known left out."""
    if form is not Format.TABLE:
        print_json(found)
        return
    table = Table(box=None, pad_edge=False, show_header=False)
    table.add_column(style="bold")
    table.add_column(overflow="fold")
    for name, value in found.items():
        if value is not None and value != []:
            table.add_row(name, _block(value))
    wide_console().print(table)


def _block(value: Any) -> Text:
    """A field: objects over several lines, lists an item a line."""
    if isinstance(value, list):
        return Text("\n").join(Text(orjson.dumps(item).decode()) for item in value)
    if isinstance(value, dict):
        return Text(orjson.dumps(value, option=orjson.OPT_INDENT_2).decode())
    return cell(value)


def _table(rows: Iterable[Mapping[str, Any]], columns: Sequence[str]) -> Table:
    table = Table(box=None, pad_edge=False, header_style="bold")
    for column in columns:
        table.add_column(column, overflow="fold", no_wrap=column in _WHOLE)
    for row in rows:
        table.add_row(*(cell(row.get(column)) for column in columns))
    return table


def cell(value: Any) -> Text:
    """A value in a table: what is not known is a dash; what steers a terminal does nothing there."""
    if value in (None, [], {}):
        return Text("-", style="dim")
    if isinstance(value, dict):
        value = [f"{name.replace('_', ' ')} {count}" for name, count in value.items()]
    text = ", ".join(map(str, value)) if isinstance(value, list | tuple) else str(value)
    return Text("".join(char if char.isprintable() else " " for char in text))
