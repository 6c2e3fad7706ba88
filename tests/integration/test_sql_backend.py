"""The SQL backend on SQLite: parameters are bound, rows become words, and the database is only read."""

import asyncio
import sqlite3
import threading
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, closing
from pathlib import Path
from typing import Any

import pytest
from pydantic import SecretStr

from schemas.envelope import Message, Payload, Request
from schemas.errors import ErrorClass
from tests.support import eventually
from workers.backends.sql import MAX_ROWS, SqlBackend
from workers.backends.template import Template
from workers.core.errors import MessageError, PermanentError, TransientError, UsageError
from workers.core.ports import Call
from workers.core.topology.model import ParameterSource, SqlTarget


def write(file: Path, *orders: tuple[int, str, str | None]) -> Path:
    with closing(sqlite3.connect(file)) as database:
        database.execute("create table orders (order_id integer, status text, eta text)")
        database.executemany("insert into orders values (?, ?, ?)", orders)
        database.commit()
    return file


def target(file: Path, **settings: Any) -> SqlTarget:
    return SqlTarget.model_validate(
        {
            "type": "sql",
            "dsn": SecretStr(f"sqlite:///{file}"),
            "query": "select status, eta from orders where order_id = :order_id",
            "parameters": {"order_id": ParameterSource(pattern=r"\d{6,}")},
            "answer": "Order {order_id}: {status}, expected {eta}",
            **settings,
        }
    )


@asynccontextmanager
async def opened(settings: SqlTarget) -> AsyncIterator[SqlBackend]:
    backend = SqlBackend(settings)
    try:
        yield backend
    finally:
        await backend.close()


async def ask(settings: SqlTarget, text: str | None = "where is order 123456?", **payload: Any) -> str:
    async with opened(settings) as backend:
        return (await backend.call(_call(text, **payload))).text


def _call(text: str | None, **payload: Any) -> Call:
    request = Request(message_id="m", source="t", payload=Payload(text=text, **payload), timestamp=1)
    return Call(request, 60.0)


async def failure(settings: SqlTarget, text: str = "where is order 123456?", **payload: Any) -> MessageError:
    with pytest.raises(MessageError) as caught:
        await ask(settings, text, **payload)
    return caught.value


@pytest.fixture
def orders(tmp_path: Path) -> Path:
    return write(tmp_path / "or ders#1.db", (123456, "shipped", "Monday"), (654321, "packed", None))


async def test_a_row_becomes_an_answer_and_null_a_dash(orders: Path) -> None:
    assert await ask(target(orders)) == "Order 123456: shipped, expected Monday"
    assert await ask(target(orders), "654321") == "Order 654321: packed, expected -"


async def test_no_row_is_an_answer_where_the_topology_has_one(orders: Path) -> None:
    found = target(orders, not_found="There is no order {order_id}.")
    assert await ask(found, "999999") == "There is no order 999999."


async def test_no_row_fails_for_good_where_the_topology_says_nothing(orders: Path) -> None:
    error = await failure(target(orders), "999999")
    assert isinstance(error, PermanentError)
    assert error.error_class is ErrorClass.UPSTREAM_4XX


async def test_a_missing_parameter_is_named(orders: Path) -> None:
    error = await failure(target(orders), "where is my order?")
    assert isinstance(error, PermanentError)
    assert error.error_class is ErrorClass.SCHEMA
    assert "order_id" in error.reason


@pytest.mark.parametrize("text", ["'; drop table orders; --", "1' or '1'='1", "x\x00y"])
async def test_parameters_are_bound_and_never_become_sql(orders: Path, text: str) -> None:
    anything = target(orders, parameters={"order_id": {"pattern": "(?s).+"}}, not_found="none")
    assert await ask(anything, text) == "none"
    assert await ask(target(orders)) == "Order 123456: shipped, expected Monday"


async def test_a_group_of_the_pattern_is_the_value(orders: Path) -> None:
    grouped = target(orders, parameters={"order_id": {"pattern": r"order (\d+)"}})
    assert await ask(grouped, "7 days ago, order 123456") == "Order 123456: shipped, expected Monday"


async def test_a_context_field_is_found_by_its_path_and_goes_before_the_text(orders: Path) -> None:
    both = target(orders, parameters={"order_id": {"context": "order.id", "pattern": r"\d+"}})
    assert (await ask(both, "123456", context={"order": {"id": 654321}})).startswith("Order 654321")
    assert (await ask(both, "123456", context={"order": "none"})).startswith("Order 123456")


async def test_a_list_is_no_parameter(orders: Path) -> None:
    listed = target(orders, parameters={"order_id": {"context": "ids"}})
    assert (await failure(listed, context={"ids": [1]})).error_class is ErrorClass.SCHEMA


async def test_the_last_message_of_a_chat_is_searched(orders: Path) -> None:
    messages = [Message(role="user", content="654321"), Message(role="user", content="no, 123456")]
    assert (await ask(target(orders), None, messages=messages)).startswith("Order 123456")


async def test_only_the_first_rows_are_shown(tmp_path: Path) -> None:
    many = write(tmp_path / "many.db", *((123456, f"s{number}", "") for number in range(MAX_ROWS + 5)))
    assert len((await ask(target(many, answer="{status}"))).splitlines()) == MAX_ROWS


async def test_a_missing_file_is_named_and_not_created(tmp_path: Path) -> None:
    file = tmp_path / "orders.db"
    error = await failure(target(file))
    assert isinstance(error, TransientError)
    assert error.error_class is ErrorClass.CONNECT
    assert "orders.db" in error.reason
    assert not file.exists()


async def test_a_file_that_was_replaced_is_read_anew(orders: Path) -> None:
    async with opened(target(orders, answer="{status}")) as backend:
        before = await backend.call(_call("123456"))
        _replace(orders)
        after = await backend.call(_call("123456"))
    assert (before.text, after.text) == ("shipped", "delivered")


def _replace(file: Path) -> None:
    file.rename(file.with_suffix(".old"))
    write(file, (123456, "delivered", None))


@pytest.mark.parametrize(
    ("query", "error_class"),
    [
        ("select nothing from orders where order_id = :order_id", ErrorClass.UPSTREAM_4XX),
        ("select * from nowhere where x = :order_id", ErrorClass.UPSTREAM_4XX),
        ("delete from orders where order_id = :order_id returning status, eta", ErrorClass.UPSTREAM_4XX),
        ("select status from orders where order_id = :order_id", ErrorClass.INTERNAL),
    ],
)
async def test_a_query_that_can_not_work_fails_for_good(
    orders: Path, query: str, error_class: ErrorClass
) -> None:
    error = await failure(target(orders, query=query))
    assert isinstance(error, PermanentError)
    assert error.error_class is error_class
    assert (await ask(target(orders))).startswith("Order 123456")


async def test_a_query_under_way_when_the_backend_is_let_go_leaves_no_thread(orders: Path) -> None:
    endless = "with recursive n(i) as (select 1 union all select i + 1 from n) select max(i) as status from n"
    before = set(threading.enumerate())
    backend = SqlBackend(target(orders, query=f"{endless} where :order_id != ''"))
    task = asyncio.create_task(backend.call(_call("order 123456")))
    await asyncio.wait({task}, timeout=0.1)
    await backend.close()
    with pytest.raises(TransientError, match="let go"):
        await task
    await eventually(lambda: set(threading.enumerate()) <= before)


@pytest.mark.parametrize(
    ("settings", "says"),
    [
        ({"query": "select 1 where 1 = :other"}, ":other"),
        ({"parameters": {"order_id": {}}}, "no source"),
        ({"parameters": {"order_id": {"pattern": "("}}}, "regular expression"),
        ({"answer": "{status.__class__}"}, "plain names"),
        ({"answer": "{status!r}"}, "plain names"),
        ({"answer": "{status:>9999999}"}, "plain names"),
        ({"answer": "{}"}, "plain names"),
        ({"answer": "{status"}, "template"),
        ({"not_found": "{0}"}, "plain names"),
        ({"dsn": SecretStr("no url")}, "not a database URL"),
        ({"dsn": SecretStr("sqlite://")}, "SQLite file"),
        ({"dsn": SecretStr("nodb://u:CANARY@h/d")}, "does not know"),
        ({"dsn": SecretStr("postgresql://u:CANARY@h/d")}, "asyncpg"),
        ({"dsn": SecretStr("sqlite+pysqlite:///x.db")}, "block the worker"),
    ],
)
def test_settings_that_could_never_work_are_refused_at_the_start(
    orders: Path, settings: dict[str, Any], says: str
) -> None:
    with pytest.raises(UsageError, match=says) as caught:
        SqlBackend(target(orders, **settings))
    assert "CANARY" not in str(caught.value)


def test_braces_are_written_twice() -> None:
    assert Template("answer", "{{{a}}}").render({"a": "{b}"}) == "{{b}}"
