"""Commits what is finished: now and then, and only what has moved."""

import asyncio

import structlog

from workers.core.errors import UnreachableError
from workers.core.ports import Subscription
from workers.inference.intake import Intake

log = structlog.get_logger()


class Committer:
    """Commits one group's positions. After `stop` it commits nothing more, whatever is asked of it."""

    def __init__(self, intake: Intake, subscription: Subscription, group: str) -> None:
        self._intake = intake
        self._subscription = subscription
        self._group = group
        self._one_at_a_time = asyncio.Lock()
        self._stopped = False
        self._failing = False

    async def commit(self) -> bool:
        """Commit what has moved. False: Kafka did not take it, and the next call tries again."""
        async with self._one_at_a_time:
            positions = {} if self._stopped else self._intake.moved()
            if not positions:
                return True
            try:
                await self._subscription.commit(
                    {each.partition: position for each, position in positions.items()}
                )
            except BaseException as error:
                # Cut off by a drain too: what is not known to be committed is committed by the next call.
                for assignment in positions:
                    assignment.moved = True
                if not isinstance(error, UnreachableError):
                    raise
                self._say(error)
                return False
            for assignment, position in positions.items():
                assignment.committed = position
            self._failing = False
            return True

    def stop(self) -> None:
        """Commit nothing from now on."""
        self._stopped = True

    def _say(self, error: UnreachableError) -> None:
        if not self._failing:
            log.warning("commit_failed", group=self._group, error=str(error))
        self._failing = True
