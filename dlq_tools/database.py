"""DuckDB as the index uses it: one file, no other files, no network, bounded memory, times in UTC."""

from pathlib import Path
from typing import Final

import duckdb

IN_MEMORY: Final = ":memory:"
_READING, _WRITING = "256MB", "128MB"  # what DuckDB may hold in memory


def connect(path: Path | str = IN_MEMORY, *, read_only: bool = False) -> duckdb.DuckDBPyConnection:
    """Open a database. Its expressions reach nothing outside of it. Raises `duckdb.Error`."""
    connection = duckdb.connect(
        str(path),
        read_only=read_only,
        config={
            "enable_external_access": False,
            "memory_limit": _READING if read_only else _WRITING,
            "errors_as_json": True,
        },
    )
    connection.execute("SET TimeZone = 'UTC'")
    connection.execute("SET lock_configuration = true")
    return connection


def reason(error: duckdb.Error) -> str:
    """The first line of an error's text."""
    return str(error).partition("\n")[0]
