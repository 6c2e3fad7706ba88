import asyncio
from dataclasses import replace

import pytest

from schemas import headers as h
from schemas.errors import ErrorClass
from tests.support import eventually
from tests.unit.inference.world import TOPIC, World, envelope, once_key
from workers.core.clock import ManualClock, SystemClock
from workers.core.errors import FatalError, TransientError
from workers.core.exit_codes import ExitCode
from workers.core.records import Outgoing
from workers.inference.service import ServiceLimits, WorkerService
from workers.stores.memory import MemoryOutcomeStore


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


def _impatient(world: World) -> WorkerService:
    world.target = replace(world.target, timeout=0.05)
    return WorkerService([world.build()[0]], SystemClock(), ServiceLimits(stuck_after=0.5, look_every=0.02))


async def test_a_worker_in_which_nothing_moves_although_messages_wait_ends_so_that_it_is_restarted(
    world: World,
) -> None:
    async def never(_: float) -> None:
        await asyncio.Event().wait()

    world.sleep = never
    world.backend.default = TransientError(ErrorClass.CONNECT, "refused")
    world.send("a")
    service = _impatient(world)
    assert await asyncio.wait_for(service.run(asyncio.Event()), 10) is ExitCode.STUCK
    assert not service.alive().ok
    assert world.committed is None


async def test_a_worker_that_waits_for_kafka_or_has_nothing_to_do_is_not_stuck(world: World) -> None:
    service, stop = _impatient(world), asyncio.Event()
    world.broker.hold_deliveries()
    running = asyncio.create_task(service.run(stop))
    await eventually(lambda: service.progress()["llm"].seen_at - service.progress()["llm"].moved_at == 0)
    world.send("a")
    await eventually(lambda: service.progress()["llm"].excuse == "Kafka takes no records")
    began = service.progress()["llm"].seen_at
    await eventually(lambda: service.progress()["llm"].seen_at > began + 1)
    assert not running.done()
    assert service.alive().ok
    world.broker.release_deliveries()
    stop.set()
    assert await running is ExitCode.DONE


async def _waits_and_lives(service: WorkerService, seconds: float) -> None:
    stop = asyncio.Event()
    running = asyncio.create_task(service.run(stop))
    await eventually(lambda: service.progress()["llm"].excuse == "messages wait for their next attempt")
    began = service.progress()["llm"].seen_at
    await eventually(lambda: running.done() or service.progress()["llm"].seen_at > began + seconds)
    assert not running.done()
    assert service.alive().ok
    stop.set()
    assert await running is ExitCode.DONE


async def test_a_worker_whose_backend_asks_for_patience_is_not_stuck(world: World) -> None:
    """A restart would ask at once, which is what the backend asks not to do, and forget how often it did."""
    world.backend.default = TransientError(ErrorClass.RATE_LIMITED, "wait", retry_after=30)
    world.retry(hold_up_to=60, max_wait=0.1)
    world.send("a")
    await _waits_and_lives(_impatient(world), 1)


async def test_a_worker_whose_messages_are_not_due_is_not_stuck(world: World) -> None:
    topic = f"{TOPIC}.retry.15m"
    world.intake = replace(world.intake, delays={topic: 900.0})
    due = round((SystemClock().wall() + 900) * 1000)
    headers = ((h.NOT_BEFORE, b"%d" % due),)
    world.broker.append(Outgoing(topic, None, envelope("a"), headers, partition=0))
    await _waits_and_lives(_impatient(world), 1)


async def test_a_worker_whose_message_waits_for_its_copy_elsewhere_is_not_stuck(world: World) -> None:
    world.outcomes = MemoryOutcomeStore(window=60, lease=60)
    await world.outcomes.claim(once_key("a"))
    world.send("a")
    await _waits_and_lives(_impatient(world), 1)
