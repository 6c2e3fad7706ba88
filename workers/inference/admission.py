"""Limits and budgets at work: a message draws from them before its call, waits or is refused, and is settled after it.

Messages that wait for one limit stand in a line, whose first asks for all. Where a tenant's line would last longer than
a wait in memory makes sense, its messages go through the delay topic: what others asked for behind them in the partition
is reached. Where the target itself has no room, its partitions fill up and are paused.
"""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

import structlog

from schemas import headers as h
from schemas.errors import ErrorClass
from workers.core.clock import Clock
from workers.core.errors import PermanentError, RefusedError, TransientError, UnreachableError
from workers.core.metrics import LIMITED, STORE_FAILURES, Metrics
from workers.core.ports import Draw, LimitStore, Usage
from workers.inference.conversation import Waiting, Work
from workers.inference.message import AbandonedError, Answered, Delayed, Failed, Message, Outcome
from workers.inference.pool import Slot
from workers.policies.quota import Demand, Gauge, Quotas, billionths
from workers.policies.retry import RetryPolicy

log = structlog.get_logger()

_LONGEST_SLEEP = 30.0  # seconds between two looks at a limit: it may be raised meanwhile


class _Claim(NamedTuple):
    """What one message draws from, for whom, and when."""

    tenant: str | None
    demand: Demand
    wall: float
    gauges: Sequence[Gauge]

    @property
    def draws(self) -> list[Draw]:
        return [gauge.draw for gauge in self.gauges]


class _Blocked(NamedTuple):
    """There is no room for about so many seconds."""

    gauge: Gauge
    wait: float


@dataclass(slots=True)
class _Line:
    """Messages that wait for the same limit or budget."""

    gauge: Gauge
    turn: asyncio.Lock = field(default_factory=asyncio.Lock)
    length: int = 0


class Admission:
    """The limits and budgets of one target's worker. Where the store is down, nobody is asked."""

    def __init__(
        self,
        target: str,
        quotas: Quotas,
        store: LimitStore,
        retry: RetryPolicy,
        metrics: Metrics,
        clock: Clock,
    ) -> None:
        self._target = target
        self._quotas = quotas
        self._store = store
        self._retry = retry
        self._metrics = metrics
        self._clock = clock
        self._failures = metrics.counter(STORE_FAILURES, target)
        self._lines: dict[tuple[str, str], _Line] = {}
        self._settling: set[asyncio.Task[None]] = set()
        self._down = False

    async def process(self, work: Work, waiting: Waiting, message: Message, slot: Slot) -> Outcome:
        """Do `work` once there is room for the message. The slot is given back either way."""
        claim = self._claim(message)
        if not claim.gauges:
            return await work(message, slot)
        try:
            blocked = self._behind(claim) or await self._draw(claim)
        except BaseException:
            waiting.give_up(slot)
            raise
        if blocked is not None:
            waiting.give_up(slot)
            instead = self._instead(blocked, message) or await self._stand_in_line(
                blocked.gauge, claim, message, waiting
            )
            if instead is not None:
                return instead
            slot = await self._acquire(claim, message, waiting)
        return await self._settled(work, claim, message, slot)

    async def close(self) -> None:
        """Wait for what is being settled. The store stays open."""
        await asyncio.gather(*self._settling)

    def _claim(self, message: Message) -> _Claim:
        assert message.asked is not None  # noqa: S101 - it was read before
        tenant = h.get(message.record.headers, h.TENANT)
        wall = self._clock.wall()
        demand = self._quotas.estimate(message.asked)
        return _Claim(tenant, demand, wall, self._quotas.gauges(tenant, demand, wall))

    def _behind(self, claim: _Claim) -> _Blocked | None:
        """Where others wait already, for the same: nobody overtakes."""
        for gauge in claim.gauges:
            line = self._lines.get(_line_of(gauge))
            if line is not None and line.length:
                each = gauge.draw.amount / gauge.draw.rate if gauge.draw.rate else 0.0
                return _Blocked(gauge, line.length * each)
        return None

    async def _draw(self, claim: _Claim) -> _Blocked | None:
        try:
            drawn = await self._store.take(claim.draws)
        except UnreachableError as error:
            self._store_is_down(error)
            return None
        self._down = False
        return None if drawn.which is None else _Blocked(claim.gauges[drawn.which], drawn.wait)

    def _instead(self, blocked: _Blocked, message: Message) -> Outcome | None:
        """What becomes of a message that does not wait here; None: it does."""
        gauge, wait = blocked
        whose = "its tenant" if gauge.scope == "tenant" else self._target
        period = "today" if gauge.kind == "money" else "this minute"
        reason = f"{whose} has used up its {gauge.kind} for {period}"
        if gauge.exceeded == "refuse":
            self._count(gauge, "refused")
            refusal = RefusedError(ErrorClass.RATE_LIMITED, reason, retry_after=round(wait, 3))
            return Failed(refusal, dead_letter=False)
        self._count(gauge, "waited")
        ladder = () if self._retry.ordered else self._retry.ladder
        if gauge.scope == "target" or wait <= self._retry.hold_up_to or not ladder:
            return None
        error, now = TransientError(ErrorClass.RATE_LIMITED, reason), self._clock.wall()
        if message.state.first_failed_at is None:
            message.state.first_failed_at = now
        if now - message.state.first_failed_at >= self._retry.max_age:
            return Failed(error, dead_letter=True)
        label, seconds = next((step for step in ladder if step[1] >= wait), ladder[-1])
        return Delayed(label, round((now + seconds) * 1000), error)

    async def _stand_in_line(
        self, gauge: Gauge, claim: _Claim, message: Message, waiting: Waiting
    ) -> Outcome | None:
        """Wait for room, and draw. An outcome where another limit refuses meanwhile."""
        line = self._lines.setdefault(_line_of(gauge), _Line(gauge))
        line.length += 1
        message.waiting = True
        left = None if message.deadline is None else message.deadline - self._clock.monotonic()
        try:
            if message.assignment.ending:
                raise AbandonedError
            async with asyncio.timeout(left), line.turn:
                while (blocked := await self._draw(claim)) is not None:
                    if blocked.gauge.exceeded == "refuse":
                        return self._instead(blocked, message)
                    await waiting.wait(message, min(blocked.wait, _LONGEST_SLEEP))
        except TimeoutError as error:
            why = f"its deadline passed while it waited for a limit of {gauge.kind}"
            raise PermanentError(ErrorClass.EXPIRED, why) from error
        finally:
            message.waiting = False
            line.length -= 1
            if not line.length:
                del self._lines[_line_of(gauge)]
        return None

    async def _acquire(self, claim: _Claim, message: Message, waiting: Waiting) -> Slot:
        try:
            return await waiting.acquire(message)
        except BaseException:
            self._correct(claim, requests=-1, used=Demand(0, 0))
            raise

    async def _settled(self, work: Work, claim: _Claim, message: Message, slot: Slot) -> Outcome:
        try:
            outcome = await work(message, slot)
        except BaseException:
            self._correct(claim, requests=0 if message.model_seconds else -1, used=_used(message, None))
            raise
        usage = _usage(outcome)
        if isinstance(outcome, Answered) and usage is None:
            return outcome  # nobody counted: the estimate stands
        self._correct(claim, requests=0 if message.model_seconds else -1, used=_used(message, usage))
        return outcome

    def _correct(self, claim: _Claim, *, requests: int, used: Demand) -> None:
        """Enter what was really used; nobody waits for that."""
        more = Demand(used.tokens - claim.demand.tokens, used.money - claim.demand.money)
        changes = {"requests": requests, "tokens": more.tokens, "money": more.money}
        draws = [
            gauge.draw._replace(amount=changes[gauge.kind]) for gauge in claim.gauges if changes[gauge.kind]
        ]
        if draws:
            task = asyncio.get_running_loop().create_task(self._add(draws))
            self._settling.add(task)
            task.add_done_callback(self._settling.discard)

    async def _add(self, draws: Sequence[Draw]) -> None:
        try:
            await self._store.add(draws)
        except UnreachableError as error:
            self._store_is_down(error)

    def _count(self, gauge: Gauge, result: str) -> None:
        self._metrics.counter(LIMITED, self._target, gauge.scope, gauge.kind, result).inc()

    def _store_is_down(self, error: UnreachableError) -> None:
        self._failures.inc()
        if not self._down:
            self._down = True
            log.error("limit_store_down", error=str(error), so="nothing is limited until it is back")


def _line_of(gauge: Gauge) -> tuple[str, str]:
    """One line a bucket, and one for all days of a budget."""
    name = gauge.draw.key if gauge.draw.rate else gauge.draw.key.rpartition(":")[0]
    return gauge.scope, name


def _usage(outcome: Outcome) -> Usage | None:
    match outcome:
        case Answered(answer):
            return answer.usage
        case Failed(error) | Delayed(error=error):
            return error.usage
        case _:
            return None


def _used(message: Message, usage: Usage | None) -> Demand:
    money = 0 if message.spent is None else billionths(message.spent)
    return Demand(0 if usage is None else usage.total_tokens, money)
