"""What every backend promises, kept by the fake, by the HTTP one on a stub server and by the SQL one on SQLite."""

import asyncio
import sqlite3
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest
from pydantic import SecretStr

from schemas.envelope import Payload, Request
from schemas.errors import ErrorClass
from workers.backends.memory import MemoryBackend
from workers.backends.openai import OpenAIBackend
from workers.backends.sql import SqlBackend
from workers.core.clock import SystemClock
from workers.core.errors import MessageError, TransientError
from workers.core.ports import Answer, Backend, Call
from workers.core.topology.model import Instance, OpenAITarget, ParameterSource, SqlTarget
from workers.local.stub_model import Faults, StubModel, serving

SECRET = "sk-CANARY-1234567890"
ENDLESS = (
    "with recursive n(i) as (select 1 union all select i + 1 from n) "
    "select max(i) as status from n where :order_id != ''"
)


@dataclass
class Rig:
    """A backend and the means to put it into each situation that the promises speak of."""

    backend: Backend
    break_down: Callable[[], None]
    hang: Callable[[], None]


@asynccontextmanager
async def memory(tmp_path: Path) -> AsyncIterator[Rig]:
    backend = MemoryBackend()

    def break_down() -> None:
        backend.default = TransientError(ErrorClass.CONNECT, "gone")

    yield Rig(backend, break_down, backend.hold)
    await backend.close()


@asynccontextmanager
async def openai(tmp_path: Path) -> AsyncIterator[Rig]:
    stub = StubModel()
    async with serving(stub) as url:
        instance = Instance(url=url, api_key=SecretStr(SECRET))
        backend = OpenAIBackend(instance, OpenAITarget(type="openai", instances=(instance,)), SystemClock())

        def break_down() -> None:
            stub.faults = Faults(reset_rate=1)

        def hang() -> None:
            stub.faults = Faults(hang_rate=1)

        yield Rig(backend, break_down, hang)
        await backend.close()


@asynccontextmanager
async def sql(tmp_path: Path) -> AsyncIterator[Rig]:
    file = tmp_path / "orders.db"
    with sqlite3.connect(file) as database:
        database.execute("create table orders (order_id text, status text)")
        database.execute("insert into orders values ('123456', 'shipped')")
    database.close()
    target = SqlTarget(
        type="sql",
        dsn=SecretStr(f"sqlite:///{file}"),
        query="select status from orders where order_id = :order_id",
        parameters={"order_id": ParameterSource(pattern=r"\d{6,}")},
        answer="{status}",
    )
    endless = SqlBackend(target.model_copy(update={"query": ENDLESS}))
    backend = SqlBackend(target)

    def hang() -> None:
        backend._query = endless._query

    yield Rig(backend, file.unlink, hang)
    await backend.close()
    await endless.close()


OPENERS: dict[str, Callable[[Path], AbstractAsyncContextManager[Rig]]] = {
    "memory": memory,
    "openai": openai,
    "sql": sql,
}


@pytest.fixture(params=OPENERS)
async def rig(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Rig]:
    async with OPENERS[request.param](tmp_path) as rig:
        yield rig


def call(timeout: float = 10.0, text: str = "where is order 123456, PROMPT-CANARY?") -> Call:
    payload = Payload(text=text)
    return Call(Request(message_id="m1", source="test", payload=payload, timestamp=1), timeout)


async def failure(backend: Backend, one: Call) -> MessageError:
    with pytest.raises(MessageError) as caught:
        await backend.call(one)
    return caught.value


async def test_a_call_gives_a_finished_answer(rig: Rig) -> None:
    answer = await rig.backend.call(call())
    assert isinstance(answer, Answer)
    assert answer.text
    assert answer.finish_reason == "stop"


async def test_its_name_says_where_it_is_and_holds_no_secret(rig: Rig) -> None:
    assert rig.backend.name
    assert SECRET not in rig.backend.name


async def test_a_hundred_calls_at_once_are_all_answered(rig: Rig) -> None:
    answers = await asyncio.gather(*(rig.backend.call(call()) for _ in range(100)))
    assert len({answer.text for answer in answers}) == 1


async def test_a_call_that_takes_too_long_is_a_timeout(rig: Rig) -> None:
    rig.hang()
    error = await failure(rig.backend, call(timeout=0.1))
    assert isinstance(error, TransientError)
    assert error.error_class is ErrorClass.TIMEOUT


async def test_a_cancelled_call_ends_at_once_and_the_backend_is_still_good(rig: Rig) -> None:
    rig.hang()
    task = asyncio.create_task(rig.backend.call(call(timeout=2)))
    await asyncio.sleep(0)
    done, _ = await asyncio.wait({task}, timeout=0.05)
    assert not done
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert (await failure(rig.backend, call(timeout=0.1))).error_class is ErrorClass.TIMEOUT


async def test_a_backend_that_breaks_down_is_worth_another_attempt(rig: Rig) -> None:
    await rig.backend.call(call())
    rig.break_down()
    error = await failure(rig.backend, call())
    assert isinstance(error, TransientError)
    assert error.error_class is ErrorClass.CONNECT


async def test_reasons_hold_neither_prompts_nor_secrets(rig: Rig) -> None:
    rig.break_down()
    error = await failure(rig.backend, call())
    text = f"{error!r} {error} {error.reason}"
    assert "CANARY" not in text


async def test_closing_twice_does_no_harm(rig: Rig) -> None:
    await rig.backend.call(call())
    await rig.backend.close()
    await rig.backend.close()
