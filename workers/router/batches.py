"""Publishes what was planned for a batch, and tells logs and metrics. Done means: every record has its outcome in Kafka."""

from collections import Counter
from collections.abc import Awaitable, Coroutine, Sequence
from typing import Any

import structlog

from workers.core.clock import Clock
from workers.core.errors import PermanentError
from workers.core.events import EventLog
from workers.core.metrics import Metrics
from workers.core.ports import Publisher
from workers.core.records import Outgoing, Received
from workers.router.outcomes import Outcome
from workers.router.planner import Planner
from workers.router.report import Report

log = structlog.get_logger()


class BatchRouter:
    """Routes batches: `begin` hands a batch to the client, what it returns ends when the batch is delivered."""

    def __init__(
        self, planner: Planner, publisher: Publisher, events: EventLog, metrics: Metrics, clock: Clock
    ) -> None:
        self._planner = planner
        self._under_way: Counter[Planner] = Counter()  # batches
        self._publisher = publisher
        self._report = Report(events, metrics)
        self._clock = clock

    def use(self, planner: Planner) -> None:
        """Plan the next batches with this one. Those under way are finished as they were begun."""
        self._planner = planner

    @property
    def leads_to(self) -> frozenset[str]:
        """The targets on whose topics messages may still be put."""
        return frozenset().union(*(planner.leads_to for planner in (self._planner, *self._under_way)))

    def begin(self, records: Sequence[Received]) -> Coroutine[Any, Any, None]:
        """Plan a batch and hand all of it to the publisher before returning, so batches keep their order.

        The result raises `FatalError` where delivery failed for good: then nothing may be acknowledged any more.
        """
        began = self._clock.monotonic()
        now_ms = self._clock.wall() * 1000
        planner = self._planner
        outcomes = planner.plan(records)
        delivery = self._publisher.deliver([record for outcome in outcomes for record in outcome.outgoing])
        self._under_way[planner] += 1
        return self._settle(planner, outcomes, delivery, began, now_ms)

    async def _settle(
        self,
        planner: Planner,
        outcomes: list[Outcome],
        delivery: Awaitable[None],
        began: float,
        now_ms: float,
    ) -> None:
        try:
            await delivery
        except PermanentError:
            outcomes = [await self._alone(planner, outcome) for outcome in outcomes]
        self._over(planner)
        for outcome in outcomes:
            if outcome.shadow is not None and outcome.error is None:
                self._publisher.post(outcome.shadow)
        self._report.tell(outcomes, now_ms, self._clock.monotonic() - began)

    def _over(self, planner: Planner) -> None:
        self._under_way[planner] -= 1
        if not self._under_way[planner]:
            del self._under_way[planner]

    async def _alone(self, planner: Planner, outcome: Outcome) -> Outcome:
        """Publish one record's outcome again, without its neighbours: one of the batch is too large for its topic."""
        try:
            await self._publisher.deliver(outcome.outgoing)
        except PermanentError as error:
            refused = outcome if outcome.error else planner.too_large(outcome, error.reason)
            return await self._piece_by_piece(refused)
        return outcome

    async def _piece_by_piece(self, outcome: Outcome) -> Outcome:
        """The error response matters even where the dead letter is too large as well."""
        published: list[Outgoing] = []
        for record in outcome.outgoing:
            try:
                await self._publisher.deliver([record])
            except PermanentError as error:
                log.warning(
                    "record_too_large",
                    topic=record.topic,
                    position=outcome.record.position,
                    error=error.reason,
                    so="raise max_message_bytes of the topic",
                )
            else:
                published.append(record)
        return outcome._replace(outgoing=tuple(published))
