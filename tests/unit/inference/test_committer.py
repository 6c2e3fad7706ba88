"""Commits that are cut off."""

import asyncio
from collections.abc import Mapping

from tests.support import eventually
from workers.core.clock import SystemClock
from workers.core.records import Position, TopicPartition
from workers.inference.committer import Committer
from workers.inference.intake import Intake, IntakePolicy
from workers.kafka.memory import MemoryBroker

PLACE = TopicPartition("t", 0)


class Hanging:
    """A subscription whose first commit gets no answer."""

    def __init__(self) -> None:
        self.asked: list[Mapping[TopicPartition, Position]] = []

    async def commit(self, positions: Mapping[TopicPartition, Position]) -> None:
        self.asked.append(positions)
        if len(self.asked) == 1:
            await asyncio.Event().wait()


async def test_a_commit_that_a_drain_cuts_off_is_made_by_the_next() -> None:
    """The clockwork is stopped before a drain's last commit; what was under way then must not count as committed."""
    intake = Intake(MemoryBroker().subscription("g", ["t"]), IntakePolicy(delays={}), SystemClock())
    intake.assigned({PLACE: Position(0)})
    (assignment,) = intake.assignments
    assignment.tracker.start(0)
    assignment.tracker.finish(0)
    assignment.moved = True
    subscription = Hanging()
    committer = Committer(intake, subscription, "g")  # type: ignore[arg-type]  # commits alone are asked of it
    cut_off = asyncio.create_task(committer.commit())
    await eventually(lambda: subscription.asked)
    cut_off.cancel()
    await asyncio.gather(cut_off, return_exceptions=True)
    assert await committer.commit()
    assert subscription.asked == [{PLACE: Position(1)}] * 2
