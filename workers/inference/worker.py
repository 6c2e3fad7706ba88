"""The worker of one target: intake, dispatch, delivery and commits, from joining the group to leaving it."""

import asyncio
import contextlib
import itertools
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

import structlog

from schemas.fleet_state import InstanceState
from workers.core.deadlines import Deadline
from workers.core.errors import RelayError
from workers.core.metrics import Metrics
from workers.core.ports import Publisher, Subscription
from workers.core.records import TopicPartition
from workers.core.topology.names import Names
from workers.inference.admission import Admission
from workers.inference.attempts import Attempts
from workers.inference.cached import Cached
from workers.inference.committer import Committer
from workers.inference.conversation import Conversations
from workers.inference.delivery import Delivery
from workers.inference.dispatch import Dispatcher
from workers.inference.flight import FlightPlan
from workers.inference.gate import Gate
from workers.inference.intake import Hooks, Intake, IntakePolicy
from workers.inference.listening import Listening
from workers.inference.meters import Meters
from workers.inference.once import OncePerId
from workers.inference.pipeline import Beside, Pipeline, Surroundings, TargetPolicy
from workers.inference.pool import Pool
from workers.inference.settle import Settlement
from workers.inference.shadow import Shadows
from workers.inference.steps import Steps
from workers.inference.streaming import Chunks
from workers.inference.tally import Tally
from workers.inference.waiting import settled
from workers.policies.valve import ValvePolicy

log = structlog.get_logger()

_COMMIT_EVERY = 0.2  # seconds
_LOOK_EVERY = 10  # commits between two looks at the lag
_CLOSING = 2.0  # seconds of the shutdown deadline kept for commit and leaving


@dataclass(frozen=True, slots=True)
class TargetSetup:
    """What makes one target's worker different from another's."""

    target: TargetPolicy
    intake: IntakePolicy
    names: Names
    valve: ValvePolicy = field(default_factory=ValvePolicy)


@dataclass(frozen=True, slots=True)
class Ports:
    """The world, as one target's worker sees it. It owns the subscription and the pool; others use the publisher too."""

    subscription: Subscription
    publisher: Publisher
    pool: Pool
    once: OncePerId
    metrics: Metrics
    conversations: Conversations | None = None
    cache: Cached | None = None
    admission: Admission | None = None


@dataclass(frozen=True, slots=True)
class Progress:
    """Facts for health checks, times in monotonic seconds.

    `moved_at`: when messages were last finished, none was waiting, or there was an `excuse`; `seen_at`: when the facts
    were written.
    """

    joined: bool  # has been assigned partitions at least once
    lag: int
    in_flight: int
    moved_at: float
    seen_at: float
    excuse: str = ""  # why nothing may move though messages wait, where a restart would mend nothing


class TargetWorker:
    """Works through one target's topic."""

    def __init__(self, setup: TargetSetup, ports: Ports, around: Surroundings) -> None:
        self.target = setup.target.name
        # The longest that a healthy worker may go without finishing anything: a call, a wait, and another call.
        self.patience = 2 * setup.target.timeout + setup.target.retry.max_wait
        self._ports = ports
        self._clock = around.clock
        self._group = setup.names.worker_group(self.target)
        tariff = setup.target.tariff
        attempts = Attempts(self.target, tariff, ports.metrics, around.events)
        self._chunks = Chunks(self.target, setup.names, ports.publisher, ports.metrics, around.clock)
        settlement = Settlement(self.target, setup.names, around.clock, tariff)
        tally = Tally(self.target, ports.metrics, around.events, around.clock, attempts)
        steps = Steps(setup.target, ports.pool, attempts, around.clock)
        beside = Beside(steps, self._chunks, ports.conversations, ports.cache, ports.admission)
        pipeline = Pipeline(setup.target, ports.pool, ports.once, around, beside, setup.names.knows)
        self._intake = Intake(ports.subscription, setup.intake, around.clock)
        self._listening = Listening(
            self._intake, ports.subscription, setup.intake.revoke_budget, around.clock
        )
        self._gate = Gate(self.target, setup.valve, ports.metrics, around.clock)
        self._delivery = Delivery(ports.publisher, settlement, self._intake, tally, self._gate)
        ways = (pipeline, Shadows(setup.target, ports.pool, around.clock))
        self._dispatcher = Dispatcher(self._gate, self._intake, ports.pool, ways, self._delivery)
        if pipeline.plain:
            plan = FlightPlan(self.target, steps, ports.pool, around.clock)
            self._dispatcher.send_express(plan, ports.once)
        self._committer = Committer(self._intake, ports.subscription, self._group)
        self._meters = Meters(ports.metrics, self._group, setup.names.target(self.target))
        self._ticking: asyncio.Task[None] | None = None
        self._leases: list[OncePerId | Cached] = [ports.once]
        if ports.cache is not None:
            self._leases.append(ports.cache)
        self._renewing: list[asyncio.Task[None]] = []
        self._failed: Callable[[BaseException], None] = lambda _: None
        now = around.clock.monotonic()
        self._progress = Progress(joined=False, lag=0, in_flight=0, moved_at=now, seen_at=now)

    async def start(self, failed: Callable[[BaseException], None]) -> None:
        """Join the group. Returns at once; `failed` is called when the worker can't keep its promises any more."""
        self._failed = failed
        self._delivery.when_failed(self._fail)
        self._dispatcher.when_failed(self._fail)
        await self._listening.start(Hooks(self._dispatcher.fill, self._fail))
        self._ticking = asyncio.create_task(self._tick(), name=f"commits of {self.target}")
        for leases in self._leases:
            task = asyncio.create_task(leases.renew(), name=f"leases of {self.target}")
            self._renewing.append(task)

    async def drain(self, deadline: Deadline) -> None:
        """Finish what is in flight and leave the group, all within the deadline; what is left is not committed.

        Order matters: a group that is left before the commit gives finished work to somebody else.
        """
        # 1. Fetch no more. 2. Finish what is in flight; what can't be until the deadline is abandoned.
        # 3. An outcome counts as finished only when it is delivered, so nothing is left to flush.
        abandoned = await self._listening.drain(_less(deadline))
        await _stop(self._ticking)
        # 4. Commit what is finished.
        committed = await self._committer.commit()
        # 5. Leave the group. 6. Close.
        await self._leave(deadline)
        log.info("drained", target=self.target, abandoned=abandoned, committed=committed)

    async def abort(self) -> None:
        """Leave everything as it is: nothing more is finished or committed. Messages in flight come again."""
        self._committer.stop()
        self._intake.abort()
        await _stop(self._ticking)
        await self._leave(Deadline.after(0.5, self._clock))

    def resume(self) -> None:
        """Take messages again where the safety valve has stopped that."""
        self._gate.resume()

    def instances(self) -> list[InstanceState]:
        """How its instances stand."""
        return self._ports.pool.states()

    def progress(self) -> Progress:
        """Where the worker stands. Cheap, and callable from any thread."""
        return self._progress

    def _fail(self, error: BaseException) -> None:
        """Commit nothing any more, at once; then let the process stop."""
        self._committer.stop()
        self._intake.abort()
        self._failed(error)

    async def _leave(self, deadline: Deadline) -> None:
        self._gate.close()
        await self._ports.subscription.close(deadline)
        await self._ports.pool.close()
        for task in self._renewing:
            await _stop(task)
        await settled(self._dispatcher.tasks, deadline)
        for leases in self._leases:
            await leases.close()
        if self._ports.admission is not None:
            await self._ports.admission.close()

    async def _tick(self) -> None:
        try:
            for turn in itertools.count():
                await asyncio.sleep(_COMMIT_EVERY)
                await self._committer.commit()
                lag = await self._ports.subscription.lag() if turn % _LOOK_EVERY == 0 else None
                self._look(lag)
        except RelayError as error:
            self._fail(error)

    def _look(self, lag: Mapping[TopicPartition, int] | None) -> None:
        """Bring metrics and health facts up to date."""
        in_flight = self._meters.show(self._intake, lag)
        waiting = self._progress.lag if lag is None else sum(lag.values())
        finished = self._meters.finished(self._intake.finished)
        excuse = self._excuse()
        moved = finished > 0 or in_flight + waiting == 0 or bool(excuse)
        now = self._clock.monotonic()
        self._progress = Progress(
            joined=self._progress.joined or bool(self._intake.assignments),
            lag=waiting,
            in_flight=in_flight,
            moved_at=now if moved else self._progress.moved_at,
            seen_at=now,
            excuse=excuse,
        )

    def _excuse(self) -> str:
        reasons = {
            "the safety valve has stopped it": self._gate.stopped,
            "every instance is out of service": self._ports.pool.out_of_service,
            "Kafka takes no records": self._delivery.pending or self._chunks.waiting > 0,
            "the store of outcomes is down": self._ports.once.waiting,
            "messages wait for their next attempt": self._intake.waits,
        }
        return "; ".join(reason for reason, holds in reasons.items() if holds)


def _less(deadline: Deadline) -> Deadline:
    """The part of a deadline that work in flight may use; the rest is for the commit and for leaving."""
    return Deadline(deadline.at - min(_CLOSING, deadline.remaining() / 4), deadline.clock)


async def _stop(task: asyncio.Task[None] | None) -> None:
    if task is not None:
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task
