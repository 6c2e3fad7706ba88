import asyncio

import pytest

from tests.support import eventually
from tests.unit.inference.world import World
from workers.core.clock import ManualClock, SystemClock
from workers.core.errors import FatalError
from workers.core.exit_codes import ExitCode
from workers.inference.service import ServiceLimits, WorkerService


@pytest.fixture
def world() -> World:
    return World()


async def test_a_stop_drains_commits_and_ends_well(world: World) -> None:
    worker, _ = world.build()
    service, stop = WorkerService([worker], SystemClock()), asyncio.Event()
    world.send("a")
    running = asyncio.create_task(service.run(stop))
    await eventually(lambda: world.answered == ["a"])
    await eventually(lambda: service.ready().ok)
    stop.set()
    assert await running is ExitCode.DONE
    assert world.committed_offset() == 1
    assert not service.ready().ok


async def test_a_delivery_failure_ends_the_service_with_its_error_and_commits_nothing(world: World) -> None:
    worker, _ = world.build()
    service = WorkerService([worker], SystemClock())
    world.broker.fail_deliveries()
    world.send("a")
    with pytest.raises(FatalError, match="delivery failed for good"):
        await service.run(asyncio.Event())
    assert world.committed is None


async def test_a_delivery_failure_during_the_drain_still_commits_nothing(world: World) -> None:
    worker, _ = world.build()
    service, stop = WorkerService([worker], SystemClock()), asyncio.Event()
    world.backend.hold()
    world.send("a")
    running = asyncio.create_task(service.run(stop))
    await eventually(lambda: world.backend.in_flight == 1)
    world.broker.fail_deliveries()
    stop.set()
    await asyncio.sleep(0)
    world.backend.release()
    with pytest.raises(FatalError):
        await running
    assert world.committed is None


async def test_all_targets_share_one_deadline(world: World) -> None:
    world.backend.hold()
    world.send("a")
    workers = [world.build()[0], world.build()[0]]
    service, stop = WorkerService(workers, SystemClock(), ServiceLimits(drain=0.3)), asyncio.Event()
    running = asyncio.create_task(service.run(stop))
    await eventually(lambda: world.backend.in_flight == 1)
    stop.set()
    async with asyncio.timeout(3):
        assert await running is ExitCode.DONE
    assert world.committed_offset() in {None, 0}


async def test_a_loop_that_stands_still_is_not_alive(world: World) -> None:
    clock = ManualClock()
    worker, _ = world.build()
    service = WorkerService([worker], clock, ServiceLimits(silent=10))
    clock.advance(worker.progress().seen_at + 9)
    assert service.alive().ok
    clock.advance(2)
    assert not service.alive().ok
    assert "llm" in service.alive().why


async def test_progress_tells_lag_and_what_is_in_flight(world: World) -> None:
    world.backend.hold()
    world.send("a", "b")
    worker, _ = world.build()
    service, stop = WorkerService([worker], SystemClock()), asyncio.Event()
    running = asyncio.create_task(service.run(stop))
    await eventually(lambda: service.progress()["llm"].in_flight == 2)
    metric = 'relayfleet_in_flight{process="worker",topic="model_requests.llm"} 2.0'
    from prometheus_client import generate_latest

    assert metric in generate_latest(world.metrics.registry).decode()
    world.backend.release()
    await eventually(lambda: service.progress()["llm"].in_flight == 0)
    stop.set()
    await running
