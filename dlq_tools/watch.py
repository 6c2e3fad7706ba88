"""Watching a dead-letter topic: depth, age, rate and errors that were never seen before, for alerts."""

import asyncio
from dataclasses import dataclass, field

import structlog

from dlq_tools.filling import fill, open_index
from dlq_tools.group import Group, groups
from dlq_tools.index import Index
from dlq_tools.listing import look
from dlq_tools.session import Session
from workers.core import metrics as m
from workers.core.errors import RelayError
from workers.core.health import Fact
from workers.core.metrics import Metrics

log = structlog.get_logger()

_GROUPS = 10_000  # fingerprints looked at: more are no groups any more


@dataclass(slots=True)
class Watch:
    """Looks at one topic again and again. What is there at the first look is known; what comes later is new."""

    session: Session
    topic: str
    metrics: Metrics
    known: set[str | None] | None = None
    failure: str = field(default="starting")

    def fresh(self) -> Fact:
        """Whether the last look succeeded."""
        return Fact("kafka", ok=not self.failure, why=self.failure)

    async def run(self, stop: asyncio.Event, every: float) -> None:
        """Look every so many seconds until `stop` is set; a cluster that does not answer is tried again."""
        while not stop.is_set():
            try:
                await self.look()
                self.failure = ""
            except RelayError as error:
                self.failure = str(error)
                log.warning("dlq.watch_failed", topic=self.topic, error=str(error))
            try:
                async with asyncio.timeout(every):
                    await stop.wait()
            except TimeoutError:
                continue

    async def look(self) -> list[Group]:
        """One look: sets the metrics, and returns the groups of fingerprints that are new."""
        session, now = self.session, self.session.now_ms
        (seen,) = await look(session.admin, [self.topic], self.topic, now)
        index = await open_index(session.admin, session.settings.home, self.topic)
        await fill(index, session.admin, session.open_reader)
        self.metrics.gauge(m.DLQ_DEPTH, self.topic).set(seen.depth)
        self.metrics.gauge(m.DLQ_LAST_HOUR, self.topic).set(seen.last_hour)
        age = 0.0 if seen.oldest_ms is None else max(0.0, (now - seen.oldest_ms) / 1000)
        self.metrics.gauge(m.DLQ_OLDEST, self.topic).set(age)
        return self._new(index)

    def _new(self, index: Index) -> list[Group]:
        found = groups(index, limit=_GROUPS)
        counter = self.metrics.counter(m.DLQ_NEW_FINGERPRINTS, self.topic)
        known = {group.fingerprint for group in found} if self.known is None else self.known
        new = [group for group in found if group.fingerprint not in known]
        for group in new:
            counter.inc()
            log.warning("dlq.new_fingerprint", topic=self.topic, **group.public())
        self.known = known | {group.fingerprint for group in new}
        return new
