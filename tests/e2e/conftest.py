"""One running fleet for the end-to-end tests: router, worker, stub model, a database; real processes, a real broker."""

import sqlite3
from collections.abc import AsyncIterator
from contextlib import closing
from pathlib import Path

import pytest

from tests.fleet import Fleet, running_fleet


@pytest.fixture
def orders(tmp_path: Path) -> Path:
    """A database with one order."""
    path = tmp_path / "orders.db"
    with closing(sqlite3.connect(path)) as database:
        database.execute("create table orders (order_id text primary key, status text, eta text)")
        database.execute("insert into orders values ('20240501', '运输中', '2026-12-01')")
        database.commit()
    return path


@pytest.fixture
async def fleet(kafka: str, tmp_path: Path, orders: Path) -> AsyncIterator[Fleet]:
    """A router and a worker of two targets: `llm` (the stub model) and `orders` (SQLite)."""
    targets = {
        "orders": {
            "type": "sql",
            "dsn": f"sqlite:///{orders}",
            "query": "select status, eta from orders where order_id = :order_id",
            "parameters": {"order_id": {"pattern": r"\d{6,}"}},
            "answer": "Order {order_id}: {status}, expected {eta}",
            "timeout": "2s",
            "retry": {"attempts": 2, "initial": "50ms", "max": "100ms", "hold_up_to": "1s"},
        }
    }
    routes = [
        {"name": "order", "when": {"keywords": ["订单"]}, "to": "orders"},
        {"name": "default", "to": "llm"},
    ]
    target = {
        "timeout": "1s",
        "retry": {"attempts": 2, "initial": "50ms", "max": "100ms", "hold_up_to": "1s"},
    }
    more = {"routes": routes}
    async with running_fleet(kafka, tmp_path, target=target, targets=targets, more=more) as fleet:
        await fleet.add("router")
        await fleet.add("worker")
        yield fleet
