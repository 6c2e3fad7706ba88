"""One target's `Listener`: hands everything to the intake, and lets assignments end when nothing of them runs any more."""

import asyncio
from collections.abc import Callable, Mapping, Sequence

from workers.core.clock import Clock
from workers.core.deadlines import Deadline
from workers.core.ports import Subscription
from workers.core.records import Position, Received, TopicPartition
from workers.inference.intake import Hooks, Intake, give_up
from workers.inference.message import Assignment


class Listening:
    """See the module."""

    def __init__(
        self, intake: Intake, subscription: Subscription, revoke_budget: float, clock: Clock
    ) -> None:
        """`revoke_budget`: seconds that a rebalance waits for the calls under way."""
        self._intake = intake
        self._subscription = subscription
        self._revoke_budget = revoke_budget
        self._clock = clock
        self._failed: Callable[[BaseException], None] = lambda _: None

    async def start(self, hooks: Hooks) -> None:
        """Join the group; messages come from now on."""
        self._intake.tell(hooks)
        self._failed = hooks.failed
        await self._subscription.start(self)

    def assigned(self, partitions: Mapping[TopicPartition, Position | None]) -> None:
        """See `Listener`."""
        self._intake.assigned(partitions)

    def records(self, batch: Sequence[Received]) -> None:
        """See `Listener`."""
        self._intake.records(batch)

    async def revoked(self, partitions: Sequence[TopicPartition]) -> Mapping[TopicPartition, Position]:
        """See `Listener`."""
        ending = self._intake.ends(partitions)
        await _idle(ending, Deadline.after(self._revoke_budget, self._clock))
        return self._intake.over(ending)

    def lost(self, partitions: Sequence[TopicPartition]) -> None:
        """See `Listener`."""
        self._intake.lost(partitions)

    def failed(self, error: BaseException) -> None:
        """See `Listener`."""
        self._failed(error)

    async def drain(self, deadline: Deadline) -> int:
        """Fetch no more, forget what has not started, wait for what has. Returns how many messages were abandoned."""
        return await _idle(self._intake.drains(), deadline)


async def _idle(ending: Sequence[Assignment], deadline: Deadline) -> int:
    """Wait until nothing of these runs; what still does at the deadline is cancelled and counted."""
    try:
        async with asyncio.timeout(deadline.remaining()):
            await asyncio.gather(*(_until_idle(assignment) for assignment in ending))
    except TimeoutError:
        left = [message for assignment in ending for message in assignment.running]
        give_up(left)
        return len(left)
    return 0


async def _until_idle(assignment: Assignment) -> None:
    while assignment.running:
        assignment.idle.clear()
        await assignment.idle.wait()
