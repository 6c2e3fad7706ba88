"""Faust's consumer with our ledgers: what it would commit, without a broker."""

from collections.abc import AsyncIterator, Callable
from types import SimpleNamespace
from typing import Any

import pytest
from faust.types import TP

from workers.core.errors import FatalError
from workers.core.topology.model import Security
from workers.router.app import GroupSettings, RouterApp, build_app
from workers.router.pipeline import Pipeline
from workers.router.transport import SLICE_RECORDS, SliceMessage, Slices

PLACE = TP("requests", 0)


def fetched(*offsets: int) -> list[Any]:
    return [SimpleNamespace(offset=offset, timestamp=0, timestamp_type=0) for offset in offsets]


@pytest.fixture
async def app() -> AsyncIterator[RouterApp]:
    def never(_: object) -> Any:
        raise AssertionError("nothing is routed here")

    app = build_app(
        GroupSettings("127.0.0.1:1", "requests", "group"), Security(), Pipeline(never, never), never
    )
    app.finalize()
    app.consumer_generation_id = 1
    yield app
    app.slices._thread.thread_loop.close()  # of the consumer's thread, which was never started


async def test_no_exception_leaves_the_agent_for_faust_would_acknowledge_its_event() -> None:
    failures: list[BaseException] = []

    def never(_: object) -> Any:
        raise AssertionError("nothing is routed here")

    settings = GroupSettings("127.0.0.1:1", "requests", "group")
    app = build_app(settings, Security(), Pipeline(never, never), failures.append)
    (agent,) = app.agents.values()
    await agent.fun("no stream that can be acknowledged by hand")
    assert [type(failure) for failure in failures] == [FatalError]


def taken(app: RouterApp, *offsets: int) -> tuple[SliceMessage, Callable[[], bool]]:
    """A slice that was read, and its acknowledgement."""
    message = app.slices._to_message(PLACE, fetched(*offsets))
    assert isinstance(message, SliceMessage)
    message.incref()
    return message, lambda: message.ack(app.slices)


async def test_a_fresh_group_commits_nothing_past_a_slice_in_flight(app: RouterApp) -> None:
    _, first = taken(app, 0)
    _, second = taken(app, 1, 2, 3)
    assert second()
    assert app.slices._new_offset(PLACE) is None
    assert first()
    assert app.slices._new_offset(PLACE) == 4


async def test_an_acknowledgement_of_an_earlier_assignment_commits_nothing(app: RouterApp) -> None:
    _, late = taken(app, 0, 1)
    app.consumer_generation_id = 2
    _, now = taken(app, 1, 2)
    late()
    assert app.slices._new_offset(PLACE) is None
    now()
    assert app.slices._new_offset(PLACE) == 3


async def test_a_slice_is_finished_once(app: RouterApp) -> None:
    _, once = taken(app, 0)
    assert once()
    assert not once()


async def test_what_is_fetched_is_cut_into_slices_in_turn() -> None:
    other = TP("requests", 1)
    records = {PLACE: list(range(SLICE_RECORDS + 1)), other: [7]}
    cut = list(Slices().iterate(records))
    assert [(place.partition, len(piece)) for place, piece in cut] == [(0, SLICE_RECORDS), (1, 1), (0, 1)]


async def test_the_agent_runs_alone_and_the_app_binds_and_creates_nothing(app: RouterApp) -> None:
    (agent,) = app.agents.values()
    assert agent.concurrency == 1
    conf = app.conf
    assert not conf.web_enabled
    assert not conf.topic_allow_declare
    assert conf.topic_disable_leader
    assert not app.in_transaction
