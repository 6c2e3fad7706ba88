"""The router as a process: start, watch, drain, and the exit code that says why it ended."""

import asyncio
import os
import sys
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any, NoReturn

import structlog

from workers.core import metrics as m
from workers.core.clock import Clock
from workers.core.deadlines import Deadline
from workers.core.errors import FatalError, UnreachableError, UsageError
from workers.core.events import EventLog
from workers.core.exit_codes import ExitCode
from workers.core.health import Fact
from workers.core.metrics import Metrics
from workers.core.ports import Admin, Publisher, Subscription
from workers.core.records import TopicPartition
from workers.core.topology.model import Topology
from workers.policies.guess import Classifier
from workers.policies.prefer import Speeds
from workers.router.app import RouterApp, build_app
from workers.router.batches import BatchRouter
from workers.router.pipeline import Pipeline
from workers.router.planner import Planner
from workers.router.progress import Progress, Standing
from workers.router.reading import Reading
from workers.router.standings import look

log = structlog.get_logger()

_ANSWER_SECONDS = 10.0
_SWITCH_SECONDS = 0.0005
_CODES: Mapping[type[BaseException], ExitCode] = {
    UnreachableError: ExitCode.UNREACHABLE,
    UsageError: ExitCode.USAGE,
}


@dataclass(frozen=True, slots=True)
class GroupNames:
    """What a router reads, and as whose member."""

    topic: str
    group: str


@dataclass(frozen=True, slots=True)
class RouterDeps:
    """What the router is made of."""

    topology: Topology
    publisher: Publisher
    subscription: Subscription
    admin: Admin
    events: EventLog
    metrics: Metrics
    clock: Clock
    classifier: Classifier | None = None
    speeds: Speeds = field(default_factory=Speeds)


@dataclass(frozen=True, slots=True)
class RouterLimits:
    """Seconds."""

    drain: float = 25.0
    stuck_after: float = 60.0
    look_every: float = 5.0


def stop_hard(error: BaseException) -> NoReturn:
    """End the process at once: no handler, no flush, no commit may run any more."""
    log.critical(
        "router_failed", error=str(error), so="stops before it acknowledges anything more", exc_info=error
    )
    os._exit(_CODES.get(type(error), ExitCode.FATAL))


def leave_hard(code: ExitCode) -> NoReturn:
    """End the process with this code: nothing that is left may delay it."""
    os._exit(code)


class RouterService:
    """One router. `run` is its whole life; `alive` and `ready` may be asked from another thread."""

    def __init__(
        self,
        deps: RouterDeps,
        group: GroupNames,
        limits: RouterLimits | None = None,
        failed: Callable[[BaseException], None] = stop_hard,
        leave: Callable[[ExitCode], None] = leave_hard,
    ) -> None:
        """`failed` and `leave` end the process; they are parameters for tests alone."""
        self._deps = deps
        self._group = group
        self._limits = limits or RouterLimits()
        planner = Planner(deps.topology, deps.clock, deps.classifier, deps.speeds)
        self._batches = BatchRouter(planner, deps.publisher, deps.events, deps.metrics, deps.clock)
        self._pipeline = Pipeline(self._batches.begin, failed)
        self._reading = Reading(deps.subscription, failed)
        self._failed = failed
        self._leave = leave
        self._progress = Progress(self._limits.stuck_after)
        self._looked_at = deps.clock.monotonic()
        self._stopping = False

    def use(self, planner: Planner) -> None:
        """Route by these routes from the next batch on: each message is routed wholly by one version."""
        self._batches.use(planner)

    @property
    def leads_to(self) -> frozenset[str]:
        """The targets on whose topics this router may still put messages."""
        return self._batches.leads_to

    def alive(self) -> Fact:
        """Whether somebody still looks at progress; a router without progress ends itself."""
        age = self._deps.clock.monotonic() - self._looked_at
        return Fact("progress", age < self._limits.stuck_after, f"looked at {age:.0f} s ago")

    def ready(self) -> Fact:
        """Whether it is a member of its group and takes messages."""
        if self._stopping or not self._reading.joined:
            return Fact("group", ok=False, why="stopping" if self._stopping else "not joined")
        return Fact("group", ok=True, why=f"{len(self._reading.partitions)} partitions")

    async def run(self, stop: asyncio.Event) -> ExitCode:
        """Route until `stop` is set, then drain; returns after a clean drain, anything else ends the process here."""
        if stop.is_set():
            return ExitCode.DONE
        # The thread that polls and the router take turns: waiting 5 ms for each other's showed in the hop's p99.
        sys.setswitchinterval(_SWITCH_SECONDS)
        app = build_app(self._group.group, self._group.topic, self._reading, self._pipeline, self._failed)
        looking = asyncio.create_task(self._look(), name="watchdog")
        keeping = [
            asyncio.create_task(self._pipeline.run(), name="settle"),
            asyncio.create_task(self._reading.keep_committing(), name="commit"),
            asyncio.create_task(app.wait_until_stopped(), name="crash"),
        ]
        try:
            code = await self._run(app, stop, looking, keeping)
        except Exception as error:  # noqa: BLE001 - whatever it is, offsets are not safe any more
            self._failed(error)
            code = ExitCode.FATAL
        finally:
            await _cancel(looking, *keeping)
        if code is not ExitCode.DONE:
            self._leave(code)
        return code

    async def _run(
        self,
        app: RouterApp,
        stop: asyncio.Event,
        looking: "asyncio.Task[ExitCode]",
        keeping: "Sequence[asyncio.Task[None]]",
    ) -> ExitCode:
        starting = asyncio.create_task(app.start(), name="start")
        stopping = asyncio.create_task(stop.wait(), name="stop")
        unexpected = {looking, *keeping}
        try:
            await asyncio.wait({starting, stopping, *unexpected}, return_when=asyncio.FIRST_COMPLETED)
            if starting.done():
                starting.result()
                log.info("router_started", topic=self._group.topic, group=self._group.group)
            await asyncio.wait({stopping, *unexpected}, return_when=asyncio.FIRST_COMPLETED)
            if looking.done():
                return looking.result()
            for task in keeping:
                if task.done():
                    task.result()
                    raise FatalError(f"{task.get_name()} ended by itself: {app.crash_reason!r}")
            return await self._drain(app, starting)
        finally:
            await _cancel(starting, stopping)

    async def _drain(self, app: RouterApp, starting: "asyncio.Task[None]") -> ExitCode:
        """1. Take nothing more. 2. Wait for what is in flight. 3. Commit. 4. Leave the group. 5. Stop Faust."""
        self._stopping = True
        deadline = Deadline.after(self._limits.drain, self._deps.clock)
        log.info("router_draining", in_flight=self._pipeline.in_flight)
        try:
            async with asyncio.timeout(deadline.remaining()):
                await self._reading.drain()
                await starting
        except (TimeoutError, UnreachableError) as error:
            log.warning("drain_failed", error=repr(error), so="what is not committed is routed again")
            return ExitCode.ABORTED
        await self._deps.subscription.close(deadline)
        with suppress(TimeoutError):  # nothing is left that could be lost
            async with asyncio.timeout(deadline.remaining()):
                await app.stop()
        return ExitCode.DONE

    async def _look(self) -> ExitCode:
        while True:
            await asyncio.sleep(self._limits.look_every)
            standings = await look(self._reading, self._deps.admin, _ANSWER_SECONDS)
            now = self._deps.clock.monotonic()
            self._looked_at = now
            self._show_lag(standings)
            stuck = self._progress.update(standings, now)
            if stuck:
                log.critical(
                    "stuck",
                    partitions=[str(partition) for partition in stuck],
                    seconds=self._limits.stuck_after,
                    so="restart: no offset moves although there is lag",
                )
                return ExitCode.STUCK

    def _show_lag(self, standings: Mapping[TopicPartition, Standing] | None) -> None:
        for partition, standing in (standings or {}).items():
            labels = (self._group.group, partition.topic, str(partition.partition))
            self._deps.metrics.gauge(m.LAG, *labels).set(standing.lag)
        self._deps.metrics.gauge(m.IN_FLIGHT, "router", self._group.topic).set(self._pipeline.in_flight)


async def _cancel(*tasks: "asyncio.Task[Any]") -> None:
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
