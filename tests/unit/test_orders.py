"""The sample orders database."""

import os
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from workers.core.errors import UsageError
from workers.local.orders import build_orders

SCRIPT = Path(__file__).parents[2] / "examples" / "orders.sql"


def count(database: Path) -> int:
    with closing(sqlite3.connect(database)) as connection:
        return int(connection.execute("select count(*) from orders").fetchone()[0])


def test_the_shipped_script_makes_at_least_thirty_orders(tmp_path: Path) -> None:
    assert build_orders(SCRIPT, tmp_path / "orders.db")
    assert count(tmp_path / "orders.db") >= 30
    assert [file.name for file in tmp_path.iterdir()] == ["orders.db"]


def test_a_database_newer_than_its_script_is_left_alone(tmp_path: Path) -> None:
    script, database = tmp_path / "orders.sql", tmp_path / "orders.db"
    script.write_text("create table orders (id); insert into orders values (1);")
    assert build_orders(script, database)
    assert not build_orders(script, database)
    script.write_text("create table orders (id);")
    newer = database.stat().st_mtime + 1
    os.utime(script, (newer, newer))
    assert build_orders(script, database)
    assert count(database) == 0


def test_a_wrong_script_is_named_and_leaves_the_old_database(tmp_path: Path) -> None:
    script, database = tmp_path / "orders.sql", tmp_path / "orders.db"
    script.write_text("create table orders (id);")
    build_orders(script, database)
    script.write_text("create table orders (id); insert into nowhere values (1);")
    newer = database.stat().st_mtime + 1
    os.utime(script, (newer, newer))
    with pytest.raises(UsageError, match=r"orders\.sql: no such table: nowhere"):
        build_orders(script, database)
    assert count(database) == 0
    assert len(list(tmp_path.iterdir())) == 2


def test_a_missing_script_is_named(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"orders\.sql: No such file"):
        build_orders(tmp_path / "orders.sql", tmp_path / "orders.db")
