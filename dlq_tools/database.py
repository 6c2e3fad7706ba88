"""DuckDB as the index uses it: its own files, no other files, no network, bounded memory, times in UTC."""

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import duckdb
import orjson

from dlq_tools import standing

_IN_MEMORY: Final = ":memory:"
_READING, _WRITING = "256MB", "128MB"  # what DuckDB may hold in memory


def connect(path: Path) -> duckdb.DuckDBPyConnection:
    """Open a database to write to it. Its expressions reach nothing outside of it. Raises `duckdb.Error`."""
    return _shut(duckdb.connect(str(path), config={"memory_limit": _WRITING, "errors_as_json": True}))


def look(index: Path | None, ledger: Path | None) -> duckdb.DuckDBPyConnection:
    """Open an index to read it, with the ledger's beside it as `ledger`; what is None is empty. Raises as `connect`."""
    config: dict[str, str | bool | int | float | list[str]] = {
        "memory_limit": _READING,
        "errors_as_json": True,
    }
    if index is not None:
        config["temp_directory"] = f"{index}.tmp"
    connection = duckdb.connect(_IN_MEMORY, config=config)
    try:
        _attach(connection, ledger, standing.SCHEMA)
        if ledger is None:
            for table in standing.create(standing.SCHEMA):
                connection.execute(table)
        _attach(connection, index, "looked_at")
        connection.execute("USE looked_at")
        return _shut(connection)
    except duckdb.Error:
        connection.close()
        raise


def _attach(connection: duckdb.DuckDBPyConnection, path: Path | None, name: str) -> None:
    escaped = str(path or _IN_MEMORY).replace("'", "''")
    connection.execute(f"ATTACH '{escaped}' AS {name}" + ("" if path is None else " (READ_ONLY)"))


def _shut(connection: duckdb.DuckDBPyConnection) -> duckdb.DuckDBPyConnection:
    """From here on the connection opens no file any more, and that can't be changed."""
    connection.execute("SET TimeZone = 'UTC'")
    connection.execute("SET enable_external_access = false")
    connection.execute("SET lock_configuration = true")
    return connection


def insert(
    connection: duckdb.DuckDBPyConnection,
    table: str,
    columns: Mapping[str, str],
    rows: Iterable[Sequence[Any]],
) -> int:
    """Add rows to a table of these columns, by name and type; returns the bytes that they took as JSON.

    One JSON text for all takes half the time of one list a column, and none of the interpreter's.
    """
    found = dict(zip(columns, zip(*rows, strict=True), strict=False))
    if not found:
        return 0
    shape = orjson.dumps({name: [kind] for name, kind in columns.items()}).decode()
    chosen = ", ".join(f'unnest(batch."{name}")' for name in columns)
    data = orjson.dumps(found)
    statement = f"INSERT INTO {table} SELECT {chosen} FROM (SELECT from_json(?::JSON, ?) AS batch)"  # noqa: S608 - our own names
    connection.execute(statement, [data.decode(), shape])
    return len(data)


def reason(error: duckdb.Error) -> str:
    """The first line of an error's text."""
    return str(error).partition("\n")[0]
