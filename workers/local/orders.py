"""The sample orders: a SQLite database built from a SQL script."""

import os
import sqlite3
from contextlib import closing
from pathlib import Path

from workers.core.errors import UsageError


def build_orders(script: Path, database: Path) -> bool:
    """Build `database` where it is missing or older than `script`; returns whether it was.

    A reader sees the old database or the new one, never half of one. Raises `UsageError` when the script is missing or
    wrong.
    """
    try:
        newest = script.stat().st_mtime_ns
        if database.exists() and database.stat().st_mtime_ns >= newest:
            return False
        statements = script.read_text(encoding="utf-8")
        building = database.with_name(f".{database.name}.{os.getpid()}")
        try:
            with closing(sqlite3.connect(building)) as connection:
                connection.executescript(statements)
            building.replace(database)
        finally:
            building.unlink(missing_ok=True)
    except sqlite3.Error as error:
        raise UsageError(f"{script}: {error}") from error
    except OSError as error:
        raise UsageError(f"can't build {database} from {script}: {error.strerror}") from error
    return True
