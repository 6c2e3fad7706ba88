"""The router's life with the broker in memory: start, watch, drain, and how it ends."""

import asyncio
from collections.abc import AsyncIterator, Mapping
from typing import Any

import pytest

from tests.support import eventually
from tests.unit.router.support import envelope, topology
from workers.core.clock import SystemClock
from workers.core.errors import FatalError, UnreachableError
from workers.core.events import EventLog
from workers.core.exit_codes import ExitCode
from workers.core.metrics import Metrics
from workers.core.ports import TopicState
from workers.core.records import Outgoing, TopicPartition
from workers.core.topology.names import Names
from workers.kafka.memory import MemoryBroker
from workers.router import reading, service
from workers.router.app import RouterApp, build_app
from workers.router.service import GroupNames, RouterDeps, RouterLimits, RouterService

LIMITS = RouterLimits(drain=2.0, stuck_after=0.6, look_every=0.1)


class World:
    """A router on a broker in memory."""

    def __init__(self, apps: list[RouterApp]) -> None:
        self.apps = apps
        self.broker = MemoryBroker()
        names = Names(routes := topology())
        self.requests = names.requests
        self.broker.create(TopicState(names.requests, 2, 1, {}))
        publisher, clock = self.broker.publisher(), SystemClock()
        self.failures: list[BaseException] = []
        self.left: list[ExitCode] = []
        deps = RouterDeps(
            routes,
            publisher,
            self.broker.subscription("group", [names.requests]),
            self.broker.admin(),
            EventLog(publisher, names.logs, "router", clock),
            Metrics(),
            clock,
        )
        group = GroupNames(names.requests, "group")
        self.service = RouterService(deps, group, LIMITS, self.failures.append, self.left.append)

    @property
    def members(self) -> int:
        return len(self.broker.group("group").members)

    @property
    def committed(self) -> int:
        return sum(position.offset for position in self.broker.group("group").committed.values())

    async def send(self, count: int) -> None:
        records = [Outgoing(self.requests, b"%d" % number, envelope(f"m{number}")) for number in range(count)]
        await self.broker.publisher().deliver(records)


@pytest.fixture
async def world(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[World]:
    """Stops afterwards what a process that ends hard leaves to the operating system."""
    apps: list[RouterApp] = []

    def build(*arguments: Any) -> RouterApp:
        apps.append(build_app(*arguments))
        return apps[-1]

    monkeypatch.setattr(service, "build_app", build)
    yield World(apps)
    for app in apps:
        await asyncio.wait_for(app.stop(), 10)


async def test_what_is_sent_is_routed_committed_and_left_in_order(world: World) -> None:
    stop = asyncio.Event()
    await world.send(50)
    running = asyncio.create_task(world.service.run(stop))
    await eventually(lambda: world.committed == 50)
    assert world.service.ready().ok
    stop.set()
    assert await running is ExitCode.DONE
    assert world.members == 0
    assert not world.service.ready().ok
    assert (world.failures, world.left) == ([], [])


@pytest.mark.parametrize("turns", [0, 1, 2, 3, 5, 8, 13, 30])
async def test_a_router_that_is_stopped_as_it_starts_is_no_member_afterwards(
    world: World, turns: int
) -> None:
    stop = asyncio.Event()
    running = asyncio.create_task(world.service.run(stop))
    for _ in range(turns):
        await asyncio.sleep(0)
    stop.set()
    assert await running is ExitCode.DONE
    await asyncio.sleep(0.05)
    assert world.members == 0
    assert world.failures == []


async def ended(world: World) -> BaseException:
    """What a running router says was wrong as it ends."""
    assert await asyncio.wait_for(world.service.run(asyncio.Event()), 10) is ExitCode.FATAL
    (failure,) = world.failures
    return failure


async def breaks(*_: object) -> Any:
    raise ValueError("a bug")


@pytest.mark.parametrize(
    ("what", "name"),
    [(RouterService, "_look"), (reading.Reading, "keep_committing"), (reading.Reading, "next")],
)
async def test_no_part_of_a_router_dies_unnoticed(
    world: World, what: type, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(what, name, breaks)
    assert "a bug" in str(await ended(world))


async def test_an_acknowledgement_that_raises_ends_the_router(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    def finished(*_: object) -> None:
        raise ValueError("a bug")

    monkeypatch.setattr(reading.Reading, "finished", finished)
    await world.send(1)
    assert "a bug" in str(await ended(world))


async def test_a_router_whose_commits_nobody_takes_is_stuck_though_it_routes(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def never(_: Mapping[TopicPartition, object]) -> None:
        await asyncio.Event().wait()

    monkeypatch.setattr(world.service._deps.subscription, "commit", never)
    await world.send(10)
    assert await asyncio.wait_for(world.service.run(asyncio.Event()), 10) is ExitCode.STUCK
    assert world.left == [ExitCode.STUCK]


async def test_an_outage_in_which_nobody_says_where_partitions_end_is_no_reason_to_restart(
    world: World,
) -> None:
    stop = asyncio.Event()
    running = asyncio.create_task(world.service.run(stop))
    await eventually(lambda: world.service.ready().ok)
    world.broker.unreachable = True
    await world.send(10)
    await asyncio.sleep(2 * LIMITS.stuck_after)
    world.broker.unreachable = False
    await eventually(lambda: world.committed == 10)
    stop.set()
    assert await running is ExitCode.DONE


async def test_a_drain_that_kafka_does_not_take_is_said_so(world: World) -> None:
    stop = asyncio.Event()
    world.broker.fail_commits(1000, UnreachableError("no coordinator"))
    await world.send(10)
    running = asyncio.create_task(world.service.run(stop))
    await eventually(lambda: world.service._pipeline.in_flight == 0 and world.service._reading._finished > 0)
    stop.set()
    assert await running is ExitCode.ABORTED
    assert world.left == [ExitCode.ABORTED]


async def test_a_group_that_can_not_go_on_ends_the_router(world: World) -> None:
    stop = asyncio.Event()
    running = asyncio.create_task(world.service.run(stop))
    await eventually(lambda: world.members == 1)
    fenced = FatalError("fenced")
    world.broker.group("group").members[0].fail(fenced)
    assert world.failures == [fenced]
    stop.set()
    await running
