import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field, replace

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
from workers.inference.worker import Progress


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
    async with asyncio.timeout(60):
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


@dataclass
class Watched:
    """A service that calls a worker stuck after a minute, of which the test lets pass as much as it likes."""

    clock: ManualClock = field(default_factory=ManualClock)
    stop: asyncio.Event = field(default_factory=asyncio.Event)
    world: World = field(init=False)
    service: WorkerService = field(init=False)
    running: "asyncio.Task[ExitCode]" = field(init=False)

    def __post_init__(self) -> None:
        self.world = World(clock=self.clock)
        self.world.target = replace(self.world.target, timeout=10.0)

    def run(self) -> None:
        limits = ServiceLimits(stuck_after=60, look_every=0.01)
        self.service = WorkerService([self.world.build()[0]], self.clock, limits)
        self.running = asyncio.create_task(self.service.run(self.stop))

    def progress(self) -> Progress:
        return self.service.progress()["llm"]

    async def a_while(self, at: Callable[[Progress], float]) -> None:
        """More than a minute, in steps that the worker has seen: `at` is as late as the last of them."""
        for _ in range(4):
            self.clock.advance(20)
            await eventually(lambda: self.running.done() or at(self.progress()) == self.clock.monotonic())

    async def lives(self) -> None:
        await self.a_while(lambda progress: progress.moved_at)
        assert not self.running.done()
        assert self.service.alive().ok
        self.world.broker.release_deliveries()
        self.stop.set()
        assert await self.running is ExitCode.DONE


@pytest.fixture
def watched() -> Watched:
    return Watched()


async def test_a_worker_in_which_nothing_moves_although_messages_wait_ends_so_that_it_is_restarted(
    watched: Watched,
) -> None:
    async def never(_: float) -> None:
        await asyncio.Event().wait()

    world = watched.world
    world.sleep = never
    world.backend.default = TransientError(ErrorClass.CONNECT, "refused")
    world.send("a")
    watched.run()
    await eventually(lambda: watched.progress().in_flight == 1)
    await watched.a_while(lambda progress: progress.seen_at)
    assert await asyncio.wait_for(watched.running, 60) is ExitCode.STUCK
    assert not watched.service.alive().ok
    assert world.committed is None


async def test_a_worker_that_waits_for_kafka_or_has_nothing_to_do_is_not_stuck(watched: Watched) -> None:
    watched.world.broker.hold_deliveries()
    watched.run()
    await eventually(lambda: watched.progress().joined)
    watched.clock.advance(50)  # with nothing to do
    await eventually(lambda: watched.progress().moved_at == watched.clock.monotonic())
    watched.world.send("a")
    await eventually(lambda: watched.progress().excuse == "Kafka takes no records")
    await watched.lives()


async def _waits_and_lives(watched: Watched) -> None:
    watched.run()
    await eventually(lambda: watched.progress().excuse == "messages wait for their next attempt")
    await watched.lives()


async def test_a_worker_whose_backend_asks_for_patience_is_not_stuck(watched: Watched) -> None:
    """A restart would ask at once, which is what the backend asks not to do, and forget how often it did."""
    watched.world.backend.default = TransientError(ErrorClass.RATE_LIMITED, "wait", retry_after=900)
    watched.world.retry(hold_up_to=1000, max_wait=0.1)
    watched.world.send("a")
    await _waits_and_lives(watched)


async def test_a_worker_whose_messages_are_not_due_is_not_stuck(watched: Watched) -> None:
    world, topic = watched.world, f"{TOPIC}.retry.15m"
    world.intake = replace(world.intake, delays={topic: 900.0})
    due = round((watched.clock.wall() + 900) * 1000)
    headers = ((h.NOT_BEFORE, b"%d" % due),)
    world.broker.append(Outgoing(topic, None, envelope("a"), headers, partition=0))
    await _waits_and_lives(watched)


async def test_a_worker_whose_message_waits_for_its_copy_elsewhere_is_not_stuck(watched: Watched) -> None:
    watched.world.sleep = lambda _: asyncio.sleep(0.001)  # so that time passes between two looks at it
    await watched.world.outcomes.claim(once_key("a"))
    watched.world.send("a")
    await _waits_and_lives(watched)
