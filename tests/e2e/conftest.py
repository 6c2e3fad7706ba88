"""One running fleet for the end-to-end tests: router, worker, stub model, a database; real processes, a real broker."""

import sqlite3
from collections.abc import AsyncIterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio

from tests.fleet import Fleet, running_fleet

PATIENT: dict[str, Any] = {
    "timeout": "60s",
    "retry": {"attempts": 2, "initial": "50ms", "max": "100ms"},
}


@pytest.fixture(scope="module")
def orders(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A database with one order."""
    path = tmp_path_factory.mktemp("database") / "orders.db"
    with closing(sqlite3.connect(path)) as database:
        database.execute("create table orders (order_id text primary key, status text, eta text)")
        database.execute("insert into orders values ('20240501', '运输中', '2026-12-01')")
        database.commit()
    return path


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def shared_fleet(
    kafka: str, tmp_path_factory: pytest.TempPathFactory, orders: Path
) -> AsyncIterator[Fleet]:
    """A router and a worker of three targets: `llm` (the stub model), `hasty` (the same) and `orders` (SQLite)."""
    targets = {
        "orders": {
            "type": "sql",
            "dsn": f"sqlite:///{orders}",
            "query": "select status, eta from orders where order_id = :order_id",
            "parameters": {"order_id": {"pattern": r"\d{6,}"}},
            "answer": "Order {order_id}: {status}, expected {eta}",
            **PATIENT,
        }
    }
    routes = [
        {"name": "order", "when": {"keywords": ["订单"]}, "to": "orders"},
        {"name": "default", "to": "llm"},
    ]
    hasty = {"hasty": {**PATIENT, "timeout": "1s"}}
    async with running_fleet(
        kafka,
        tmp_path_factory.mktemp("fleet"),
        target=PATIENT,
        beside=hasty,
        targets=targets,
        more={"routes": routes},
    ) as fleet:
        await fleet.add("router")
        await fleet.add("worker")
        yield fleet


@pytest.fixture
def fleet(shared_fleet: Fleet) -> Fleet:
    """The fleet, with a stub model that behaves again."""
    shared_fleet.misbehave()
    return shared_fleet
