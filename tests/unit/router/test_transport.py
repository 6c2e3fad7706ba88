"""Faust's app over our own reading, with the broker in memory."""

import asyncio
from collections.abc import AsyncIterator, Callable, Coroutine, Sequence
from contextlib import asynccontextmanager
from typing import Any

from tests.support import eventually
from workers.core.errors import FatalError
from workers.core.ports import TopicState
from workers.core.records import Outgoing, Received
from workers.kafka.memory import MemoryBroker
from workers.router.app import RouterApp, build_app
from workers.router.pipeline import Pipeline
from workers.router.reading import Reading


def never(_: object) -> Any:
    raise AssertionError("nothing is routed here, and nothing fails")


def app_of(
    failed: Callable[[BaseException], None] = never,
    begin: Callable[[Sequence[Received]], Coroutine[Any, Any, None]] = never,
) -> tuple[RouterApp, Reading, MemoryBroker, Pipeline]:
    broker = MemoryBroker()
    broker.create(TopicState("requests", 2, 1, {}))
    reading = Reading(broker.subscription("group", ["requests"]), failed)
    pipeline = Pipeline(begin, failed)
    return build_app("group", "requests", reading, pipeline, failed), reading, broker, pipeline


@asynccontextmanager
async def started(app: RouterApp, pipeline: Pipeline) -> AsyncIterator[None]:
    settling = asyncio.create_task(pipeline.run())
    await app.start()
    try:
        yield
    finally:
        await app.stop()
        settling.cancel()
        await asyncio.gather(settling, return_exceptions=True)


async def test_no_exception_leaves_the_agent_for_faust_would_acknowledge_its_event() -> None:
    failures: list[BaseException] = []
    app, *_ = app_of(failures.append)
    (agent,) = app.agents.values()
    await agent.fun("no stream that can be acknowledged by hand")
    assert [type(failure) for failure in failures] == [FatalError]


async def test_what_is_read_comes_through_the_agent_and_is_finished_when_it_is_delivered() -> None:
    begun: list[bytes | None] = []
    delivered = asyncio.Event()

    async def deliver() -> None:
        await delivered.wait()

    def begin(records: Sequence[Received]) -> Coroutine[Any, Any, None]:
        begun.extend(record.value for record in records)
        return deliver()

    app, reading, broker, pipeline = app_of(begin=begin)
    async with started(app, pipeline):
        values = [b"%d" % number for number in range(700)]
        await broker.publisher().deliver([Outgoing("requests", None, value) for value in values])
        await eventually(lambda: len(begun) == 700)
        assert sorted(begun, key=lambda value: int(value or b"")) == values
        assert not any(ledger.moved for ledger in reading._ledgers.values())
        delivered.set()
        await eventually(lambda: sum(ledger.committable or 0 for ledger in reading._ledgers.values()) == 700)


async def test_the_agent_runs_alone_and_the_app_binds_and_creates_nothing() -> None:
    app, *_ = app_of()
    app.finalize()
    (agent,) = app.agents.values()
    assert agent.concurrency == 1
    conf = app.conf
    assert not conf.web_enabled
    assert not conf.topic_allow_declare
    assert conf.topic_disable_leader
    assert not app.in_transaction
