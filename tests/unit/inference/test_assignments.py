"""What is committed, and when: of assignments that last, that are revoked, that are lost, and of drains."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import Any

import pytest

from schemas.errors import ErrorClass
from tests.support import eventually
from tests.unit.inference.world import GROUP, PLACE, StoreThatIsDown, World
from workers.backends.memory import MemoryBackend
from workers.core.deadlines import Deadline
from workers.core.errors import FatalError, TransientError
from workers.core.records import Position
from workers.policies.finished import encode


async def _for_ever(_: float) -> None:
    await asyncio.Event().wait()


async def test_nothing_is_committed_before_the_outcome_is_delivered(world: World) -> None:
    world.broker.hold_deliveries()
    world.send("a")
    async with world.running():
        await eventually(lambda: len(world.backend.calls) == 1)
        await world.turns()
        assert world.committed_offset() in {None, 0}
        world.broker.release_deliveries()
        await eventually(lambda: world.committed_offset() == 1)


async def test_a_delivery_that_failed_for_good_stops_the_worker_and_commits_nothing(world: World) -> None:
    world.send("a", "b")
    world.broker.fail_deliveries()
    async with world.running() as subscription:
        await eventually(lambda: world.errors)
        await subscription.revoke([PLACE])
        await world.turns()
    assert isinstance(world.errors[0], FatalError)
    assert world.committed is None


async def test_a_failed_commit_is_tried_again(world: World) -> None:
    world.broker.fail_commits(2)
    world.send("a")
    async with world.running():
        await eventually(lambda: world.committed_offset() == 1)


async def test_finished_messages_behind_an_unfinished_one_are_not_called_again_after_a_restart(
    world: World,
) -> None:
    world.sleep = _for_ever
    world.backend.then(TransientError(ErrorClass.UPSTREAM_5XX, "later", retry_after=3.0))
    world.send("slow", "b", "c")
    async with world.running():
        await eventually(lambda: sorted(world.answered) == ["b", "c"])
    assert world.committed_offset() == 0
    world.backends = [MemoryBackend("second")]
    async with world.running():
        await eventually(lambda: world.committed_offset() == 3)
    assert [call.request.message_id for call in world.backend.calls] == ["slow"]
    assert sorted(world.answered) == ["b", "c", "slow"]


async def test_damaged_metadata_is_ignored_and_the_messages_are_done_again(world: World) -> None:
    world.send("a", "b")
    world.broker.group(GROUP).committed[PLACE] = Position(0, encode(0, [1])[:-2] + "AA")
    async with world.running():
        await eventually(lambda: sorted(world.answered) == ["a", "b"])


async def test_a_revoked_partition_commits_only_finished_messages(world: World) -> None:
    world.intake = replace(world.intake, revoke_budget=0.05)
    world.send("done")
    async with world.running() as subscription:
        await eventually(lambda: world.committed_offset() == 1)
        world.backend.hold()
        world.send("hanging", "waiting")
        await eventually(lambda: world.backend.in_flight == 2)
        await subscription.revoke([PLACE])
        assert world.committed_offset() == 1
        world.backend.release()
        assert world.answered == ["done"]


async def test_a_revocation_waits_for_the_calls_under_way_and_commits_them(world: World) -> None:
    world.concurrency = 1
    world.backend.hold()
    world.send("running", "not started")
    async with world.running() as subscription:
        await eventually(lambda: world.backend.in_flight == 1)
        revoking = asyncio.create_task(subscription.revoke([PLACE]))
        await asyncio.sleep(0)
        world.backend.release()
        await revoking
        assert world.committed_offset() == 1
    assert world.answered == ["running"]


@asynccontextmanager
async def lost_and_called_again(world: World) -> AsyncIterator[None]:
    """A message whose partition was lost in the middle of its call and came back, so that it is called again."""
    world.backend.hold()
    world.send("a")
    async with world.running() as subscription:
        await eventually(lambda: world.backend.in_flight == 1)
        subscription.lose([PLACE])
        subscription.assign([PLACE])
        await eventually(lambda: len(world.backend.calls) == 2)
        yield


async def test_a_late_completion_of_a_lost_assignment_commits_nothing(world: World) -> None:
    async with lost_and_called_again(world):
        assert world.committed_offset() in {None, 0}
        world.backend.release()
        await eventually(lambda: world.committed_offset() == 1)
    assert world.answered == ["a"]


async def test_a_call_that_is_given_up_makes_room_for_the_next_assignments(world: World) -> None:
    world.concurrency = 1
    async with lost_and_called_again(world):
        world.backend.release()
        await eventually(lambda: world.committed_offset() == 1)


async def test_a_delivery_under_way_when_the_partition_is_lost_does_not_count_for_its_next_assignment(
    world: World,
) -> None:
    world.outcomes = StoreThatIsDown()  # so that the second copy is called, and not answered from the record
    world.broker.hold_deliveries()
    world.send("a")
    async with world.running() as subscription:
        await eventually(lambda: len(world.backend.calls) == 1)
        subscription.lose([PLACE])
        world.backend.hold()
        subscription.assign([PLACE])
        await eventually(lambda: len(world.backend.calls) == 2)
        world.broker.release_deliveries()
        await world.turns()
        assert world.committed_offset() in {None, 0}
        world.backend.release()


async def test_a_full_window_pauses_the_partition_and_room_resumes_it(world: World) -> None:
    world.limits(window=10)
    world.backend.hold()
    world.send(*(f"m{n}" for n in range(30)))
    async with world.running() as subscription:
        await eventually(lambda: PLACE in subscription.paused)
        world.backend.release()
        await eventually(lambda: len(world.answered) == 30 and PLACE not in subscription.paused)


@pytest.mark.parametrize(
    ("memory", "large"), [(300, {}), (5000, {"headers": (("x", b"y" * 1000),)}), (5000, {"key": b"k" * 1000})]
)
async def test_too_many_bytes_pause_every_partition(world: World, memory: int, large: dict[str, Any]) -> None:
    world.limits(memory=memory)
    world.backend.hold()
    world.send(*(f"m{n}" for n in range(5)), **large)
    async with world.running() as subscription:
        await eventually(lambda: PLACE in subscription.paused)
        world.backend.release()
        await eventually(lambda: len(world.answered) == 5 and not subscription.paused)


async def test_a_drain_finishes_what_runs_abandons_what_waits_and_commits(world: World) -> None:
    world.backend.hold()
    world.send(*(f"m{n}" for n in range(10)))
    worker, _ = world.build()
    await worker.start(world.errors.append)
    await eventually(lambda: world.backend.in_flight == 4)
    draining = asyncio.create_task(worker.drain(Deadline.after(60)))
    await asyncio.sleep(0)
    world.backend.release()
    await draining
    assert world.committed_offset() == 4
    assert len(world.answered) == 4
    assert world.backend.closed


async def test_a_drain_ends_at_its_deadline_and_leaves_the_rest_uncommitted(world: World) -> None:
    world.backend.hold()
    world.send("a")
    worker, _ = world.build()
    await worker.start(world.errors.append)
    await eventually(lambda: world.backend.in_flight == 1)
    await worker.drain(Deadline.after(0.1))
    assert world.committed_offset() in {None, 0}
    assert world.backend.in_flight == 0
    assert world.answered == []


async def test_a_drain_does_not_wait_for_messages_between_attempts(world: World) -> None:
    world.sleep = _for_ever
    world.backend.default = TransientError(ErrorClass.OVERLOADED, "later", retry_after=7.0)
    world.send("a")
    worker, _ = world.build()
    await worker.start(world.errors.append)
    await eventually(lambda: len(world.backend.calls) == 1)
    async with asyncio.timeout(60):
        await worker.drain(Deadline.after(3600))
    assert world.answered == []


async def test_a_subscription_that_fails_stops_the_worker(world: World) -> None:
    async with world.running() as subscription:
        subscription.fail(FatalError("fenced"))
        await eventually(lambda: world.errors)
