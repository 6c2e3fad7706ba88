"""Each backend with the means to put it into every situation that its promises speak of."""

import asyncio
import sqlite3
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

from pydantic import SecretStr

from schemas.errors import ErrorClass
from tests.backs import (
    STATUSES,
    Back,
    grpc_service,
    http_service,
    kafka_service,
    led,
    port_of_nobody,
    websocket_service,
)
from tests.contract.backend_targets import SECRET, grpc_target, http_target, kafka_target, websocket_target
from tests.support import create_topic, eventually, unique
from workers.assembly import open_pair
from workers.backends.grpc import GrpcBackend
from workers.backends.http import HttpBackend
from workers.backends.http_errors import failure
from workers.backends.kafka import KafkaBackend
from workers.backends.memory import MemoryBackend
from workers.backends.openai import OpenAIBackend
from workers.backends.sql import SqlBackend
from workers.backends.websocket import WebSocketBackend
from workers.core.clock import SystemClock
from workers.core.errors import TransientError
from workers.core.ports import Answer, Backend, Call, PromptBackend
from workers.core.topology.model import (
    Instance,
    OpenAITarget,
    ParameterSource,
    SqlTarget,
)
from workers.local.stub_model import Faults, StubModel, serving

ENDLESS = (
    "with recursive n(i) as (select 1 union all select i + 1 from n) "
    "select max(i) as status from n where :order_id != ''"
)
Do = Callable[[], object]


@dataclass
class Rig:
    """`failures`: how to make it fail with a class. What a protocol has no way to do is None."""

    backend: Backend
    break_down: Do
    hang: Do
    garble: Do | None = None
    overflow: Do | None = None
    redirect: Do | None = None
    failures: Mapping[ErrorClass, Do] = field(default_factory=dict)
    streams: bool = False
    unreachable: Backend | None = None


@asynccontextmanager
async def memory(tmp_path: Path, _: str) -> AsyncIterator[Rig]:
    backend = MemoryBackend()

    def fail(error_class: ErrorClass) -> None:
        backend.default = failure(error_class, "told to")

    def break_down() -> None:
        backend.default = TransientError(ErrorClass.CONNECT, "gone")

    failures = {each: partial(fail, each) for each in STATUSES}
    yield Rig(backend, break_down, backend.hold, failures=failures)
    await backend.close()


@asynccontextmanager
async def openai(tmp_path: Path, _: str) -> AsyncIterator[Rig]:
    stub = StubModel()

    def open_at(url: str) -> OpenAIBackend:
        instance = Instance(url=url, api_key=SecretStr(SECRET))
        return OpenAIBackend(instance, OpenAITarget(type="openai", instances=(instance,)), SystemClock())

    def misbehave(**faults: Any) -> None:
        stub.faults = Faults(**faults)

    def fail(error_class: ErrorClass) -> None:
        codes = {
            ErrorClass.CONTENT_FILTER: "content_filter",
            ErrorClass.CONTEXT_LENGTH: "context_length_exceeded",
        }
        status = 400 if error_class in codes else STATUSES[error_class]
        misbehave(error_rate=1, error_status=status, error_code=codes.get(error_class))

    async with serving(stub) as url, port_of_nobody() as port:
        backend, nowhere = open_at(url), open_at(f"http://127.0.0.1:{port}/v1")
        yield Rig(
            backend,
            partial(misbehave, reset_rate=1),
            partial(misbehave, hang_rate=1),
            garble=partial(misbehave, half_json_rate=1),
            overflow=partial(misbehave, answer_bytes=11 * 1024**2),
            redirect=partial(misbehave, error_rate=1, error_status=307),
            failures={each: partial(fail, each) for each in STATUSES},
            streams=True,
            unreachable=nowhere,
        )
        await backend.close()
        await nowhere.close()


@asynccontextmanager
async def sql(tmp_path: Path, _: str) -> AsyncIterator[Rig]:
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
    queries = {"endless": ENDLESS, "wrong": "select nothing from orders where order_id = :order_id"}
    others = {name: SqlBackend(target.model_copy(update={"query": query})) for name, query in queries.items()}
    backend = SqlBackend(target)
    nowhere = SqlBackend(target.model_copy(update={"dsn": SecretStr(f"sqlite:///{tmp_path}/absent.db")}))

    def ask(other: str) -> None:
        backend._query = others[other]._query

    failures = {ErrorClass.UPSTREAM_4XX: partial(ask, "wrong")}
    yield Rig(backend, file.unlink, partial(ask, "endless"), failures=failures, unreachable=nowhere)
    for one in (backend, nowhere, *others.values()):
        await one.close()


def _failing(back: Back) -> Mapping[ErrorClass, Do]:
    def fail(error_class: ErrorClass) -> None:
        back.do, back.fail = "fail", error_class

    return {each: partial(fail, each) for each in STATUSES}


def _rig(back: Back, backend: Backend, nowhere: Backend, **more: Any) -> Rig:
    return Rig(
        backend,
        partial(back.misbehave, "break"),
        partial(back.misbehave, "hang"),
        failures=_failing(back),
        unreachable=nowhere,
        **more,
    )


@asynccontextmanager
async def _streaming(back: Back, backend: Backend, nowhere: Backend) -> AsyncIterator[Rig]:
    does = {name: partial(back.misbehave, how) for name, how in _HOW.items()}
    yield _rig(back, backend, nowhere, streams=True, **does)
    await backend.close()
    await nowhere.close()


@asynccontextmanager
async def http(tmp_path: Path, _: str) -> AsyncIterator[Rig]:
    back = Back()

    def open_at(url: str) -> HttpBackend:
        target = http_target(url)
        return HttpBackend(target.instances[0], target, SystemClock())

    async with http_service(back) as url, port_of_nobody() as port:
        backend, nowhere = open_at(url), open_at(f"http://127.0.0.1:{port}")
        async with _streaming(back, backend, nowhere) as rig:
            yield rig


@asynccontextmanager
async def websocket(tmp_path: Path, _: str) -> AsyncIterator[Rig]:
    back = Back()

    def open_at(url: str) -> WebSocketBackend:
        target = websocket_target(url)
        return WebSocketBackend(target.instances[0], target)

    async with websocket_service(back) as url, port_of_nobody() as port:
        backend, nowhere = open_at(url), open_at(f"ws://127.0.0.1:{port}")
        async with _streaming(back, backend, nowhere) as rig:
            yield rig


@asynccontextmanager
async def grpc(tmp_path: Path, _: str) -> AsyncIterator[Rig]:
    back = Back()

    def open_at(url: str) -> GrpcBackend:
        target = grpc_target(url)
        return GrpcBackend(target.instances[0], target)

    async with grpc_service(back) as (url, server), port_of_nobody() as port:
        backend, nowhere = open_at(url), open_at(f"grpc://127.0.0.1:{port}")
        rig = _rig(back, backend, nowhere, streams=True, overflow=partial(back.misbehave, "huge"))
        stopping: list[asyncio.Task[None]] = []
        rig.break_down = lambda: stopping.append(asyncio.create_task(server.stop(None)))
        yield rig
        await asyncio.gather(*stopping)
        await backend.close()
        await nowhere.close()


@asynccontextmanager
async def kafka(tmp_path: Path, bootstrap: str) -> AsyncIterator[Rig]:
    back = Back()
    requests, responses = (create_topic(bootstrap, unique(name), 2) for name in ("asked", "answered"))
    await eventually(lambda: led(bootstrap, requests) and led(bootstrap, responses))
    target = kafka_target(bootstrap, requests, responses)
    backend = KafkaBackend(target, open_pair)
    absent = kafka_target(bootstrap, requests, unique("absent"))

    def break_down() -> None:
        """The topic of answers goes, as far as the backend can tell."""
        assert backend._session is not None
        backend._session.closing, backend._target = True, absent

    async with port_of_nobody() as port:
        nowhere = KafkaBackend(
            kafka_target(f"127.0.0.1:{port}", requests, responses, timeout="500ms"), open_pair
        )
        with kafka_service(back, bootstrap, requests, responses):
            rig = _rig(back, backend, nowhere, garble=partial(back.misbehave, "garbage"))
            rig.break_down = break_down
            yield rig
            await backend.close()
            await nowhere.close()


_HOW = {"garble": "garbage", "overflow": "huge", "redirect": "redirect"}
Opener = Callable[[Path, str], AbstractAsyncContextManager[Rig]]
OPENERS: dict[str, Opener] = {
    "memory": memory,
    "openai": openai,
    "sql": sql,
    "http": http,
    "websocket": websocket,
    "grpc": grpc,
    "kafka": kafka,
}


PROMPT = ("memory", "openai", "http")
"""Those that can be asked without a task."""


class Prompted:
    """A backend whose calls are begun and told of, where it does not have to wait first."""

    def __init__(self, backend: Backend) -> None:
        assert isinstance(backend, PromptBackend)
        self._backend = backend
        self.name, self.close = backend.name, backend.close

    async def call(self, call: Call) -> Answer:
        """See `Backend`."""
        told: asyncio.Future[Answer | Exception] = asyncio.get_running_loop().create_future()
        abandon = self._backend.begin(call, told.set_result)
        if abandon is None:
            return await self._backend.call(call)
        try:
            result = await told
        except asyncio.CancelledError:
            abandon()
            raise
        if isinstance(result, Exception):
            raise result
        return result
