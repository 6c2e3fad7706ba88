"""One message from its record to its outcome: decode, deadline, attempts.

Nothing here knows Kafka: the outcome is a value, and settling it is somebody else's work.
"""

import asyncio
import random
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from functools import partial

import structlog
from tenacity import AsyncRetrying, RetryCallState, retry_if_exception_type

from schemas.errors import ErrorClass
from workers.core.clock import Clock
from workers.core.errors import MessageError, PermanentError, RefusedError
from workers.core.events import EventLog
from workers.core.ports import Answer, Sink
from workers.inference.admission import Admission
from workers.inference.cached import Cached
from workers.inference.calling import ask
from workers.inference.conversation import Conversations, Waiting, Work
from workers.inference.message import AbandonedError, Answered, Delayed, Failed, Message, Outcome, Rerouted
from workers.inference.once import Lease, OncePerId
from workers.inference.policy import TargetPolicy as TargetPolicy
from workers.inference.pool import Pool, Slot, TurnedAwayError
from workers.inference.repeats import Repeats, under
from workers.inference.steps import Steps
from workers.inference.streaming import Chunks
from workers.inference.waiting import acquire
from workers.policies.fallback import Allowed, Chains
from workers.policies.permits import permitted
from workers.policies.retry import (
    Bound,
    DelayTopic,
    GiveUp,
    Moment,
    Step,
    WaitInMemory,
    deserves_dead_letter,
    next_step,
)

log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class Surroundings:
    """Time, chance and the event log, for everything that handles messages."""

    clock: Clock
    events: EventLog
    rng: random.Random = field(default_factory=random.Random)
    sleep: Callable[[float], Awaitable[None]] = asyncio.sleep


@dataclass(frozen=True, slots=True)
class Beside:
    """What goes on beside the attempts: their steps, pieces of answers, conversations where the target keeps any."""

    steps: Steps
    chunks: Chunks
    conversations: Conversations | None = None
    cache: Cached | None = None
    admission: Admission | None = None


class Pipeline:
    """Makes outcomes out of one target's messages."""

    def __init__(
        self,
        policy: TargetPolicy,
        pool: Pool,
        once: OncePerId,
        around: Surroundings,
        beside: Beside,
        exists: Callable[[str], bool] = lambda _: True,
    ) -> None:
        """`exists`: whether there is such a target."""
        self._policy = policy
        self._chains = Chains(policy.name, policy.fallback, policy.chains, exists)
        self._pool = pool
        self._steps = beside.steps
        self._chunks = beside.chunks
        self._worked: Work = self._work
        # Whether all that a message needs is a lease and a call.
        more = (policy.fit, beside.admission, beside.cache, beside.conversations)
        self.plain = all(each is None for each in more)
        waiting = Waiting(pool.give_up, self._wait, self._acquire)
        if beside.admission is not None:
            self._worked = partial(beside.admission.process, self._worked, waiting)
        if beside.cache is not None:
            self._worked = partial(beside.cache.process, self._worked, waiting)
        if beside.conversations is not None:
            self._worked = partial(beside.conversations.process, self._worked, waiting)
        self._once = once
        self._repeats = Repeats(once, pool.give_up, self._acquire, self._wait)
        self._around = around
        self._clock: Clock = around.clock

    async def process(self, message: Message, slot: Slot) -> Outcome:
        """Work until the outcome is known. The slot is for the first attempt.

        Cancelling abandons the message; raises `AbandonedError` where it would wait while its assignment ends.
        """
        try:
            request = message.request or self._steps.read(message)
            self._steps.check_time(message)
        except MessageError as failure:
            self._pool.give_up(slot)
            return await self._again(message, failure)
        fit = self._policy.fit
        if fit is not None and (targets := fit.elsewhere(request, self._allowed(message))):
            self._pool.give_up(slot)
            return Rerouted(targets[0], targets[1:])
        try:
            return await self._repeats.process(message, slot, self._worked)
        except MessageError as failure:
            return await self._again(message, failure)
        except TurnedAwayError:
            return self._turn_away(message)

    async def go_on(self, message: Message, slot: Slot, lease: Lease | None) -> Outcome:
        """What `process` does once the lease is had, or not needed."""
        return await self._leased(message, slot, lease, self._worked)

    async def after(
        self, message: Message, slot: Slot, lease: Lease | None, failure: MessageError
    ) -> Outcome:
        """What `process` does once the first attempt has failed. The slot was given back."""

        async def work(message: Message, _: Slot) -> Outcome:
            return await self._again(message, failure)

        return await self._leased(message, slot, lease, work)

    async def _leased(self, message: Message, slot: Slot, lease: Lease | None, work: Work) -> Outcome:
        try:
            if lease is None:
                return await work(message, slot)
            return await under(self._once, lease, message, slot, work)
        except MessageError as failure:
            return await self._again(message, failure)
        except TurnedAwayError:
            return self._turn_away(message)

    async def _work(self, message: Message, slot: Slot) -> Outcome:
        try:
            return Answered(await self._in_time(message, slot))
        except MessageError as failure:
            return await self._again(message, failure)

    def _allowed(self, message: Message) -> Allowed:
        """Where the message may fall back to."""
        return permitted(self._policy.permits, message.record.headers)

    def _turn_away(self, message: Message) -> Outcome:
        """Every breaker is open and the topology says not to wait: on to the next target, else an error at once."""
        if targets := self._chains.open(message.marks.fallback, self._allowed(message)):
            return Rerouted(targets[0], targets[1:])
        reason = f"every instance of {self._policy.name} is out of service"
        return Failed(RefusedError(ErrorClass.OVERLOADED, reason), dead_letter=False)

    async def _attempt(self, message: Message, slot: Slot, sink: Sink | None = None) -> Answer:
        """One call of the slot's instance. The slot is given back whatever happens."""
        message.instance = slot.backend.name
        began = self._clock.monotonic()
        try:
            answer = await self._call(message, slot, began, sink)
        except MessageError as failure:
            self._steps.over(message, slot, began, failure)
            raise
        except asyncio.CancelledError:
            self._pool.give_up(slot)
            raise
        self._steps.over(message, slot, began, answer)
        return answer

    async def _call(self, message: Message, slot: Slot, now: float, sink: Sink | None) -> Answer:
        return await ask(slot.backend, self._steps.call(message, now, sink), message, self._policy.name)

    async def _again(self, message: Message, failure: MessageError) -> Outcome:
        """Wait and try for as long as the policy says so. Tenacity's first round stands for what failed already."""
        failures = [failure]
        steps: list[Step] = []

        async def attempt() -> Outcome:
            if failures:
                raise failures.pop()
            return Answered(await self._next(message))

        def wait(state: RetryCallState) -> float:
            step = self._decide(message, _failure(state))
            steps.append(step)
            return step.seconds if isinstance(step, WaitInMemory) else 0.0

        retrying = AsyncRetrying(
            retry=retry_if_exception_type(MessageError),
            wait=wait,
            stop=lambda _: not isinstance(steps[-1], WaitInMemory),
            sleep=partial(self._wait, message),
            retry_error_callback=lambda state: self._end(message, _failure(state), steps[-1]),
        )
        return await retrying(attempt)

    async def _wait(self, message: Message, seconds: float) -> None:
        """Wait in memory. Raises `AbandonedError` where the assignment ends: somebody else waits on."""
        message.waiting = True
        if message.assignment.ending:
            raise AbandonedError
        message.wakes_at = self._clock.monotonic() + seconds
        await self._around.sleep(seconds)

    async def _next(self, message: Message) -> Answer:
        """Another attempt, with an instance that has not just failed where there is one."""
        self._steps.check_time(message)
        slot = await self._acquire(message)
        message.waiting = False
        return await self._in_time(message, slot)

    async def _in_time(self, message: Message, slot: Slot) -> Answer:
        """An attempt, unless it took too long to get here."""
        try:
            self._steps.check_time(message)
        except MessageError:
            self._pool.give_up(slot)
            raise
        if message.request is not None and message.request.payload.stream:
            return await self._chunks.streamed(message, partial(self._attempt, message, slot))
        return await self._attempt(message, slot)

    async def _acquire(self, message: Message) -> Slot:
        """Wait for a slot, and not beyond the deadline: while the target pauses nobody knows how long that is."""
        left = None if message.deadline is None else message.deadline - self._clock.monotonic()
        try:
            async with asyncio.timeout(left):
                return await acquire(self._pool, message.record.key, avoid=message.instance)
        except TimeoutError as error:
            raise PermanentError(
                ErrorClass.EXPIRED, "its deadline passed while no instance was free"
            ) from error

    def _decide(self, message: Message, failure: MessageError) -> Step:
        if self._chains.at_once(failure.error_class, self._allowed(message)):
            return GiveUp(Bound.FALLBACK)
        remaining = None if message.deadline is None else message.deadline - self._clock.monotonic()
        moment = Moment(self._clock.wall(), remaining)
        return next_step(self._policy.retry, message.state, failure, moment, self._around.rng)

    def _end(self, message: Message, failure: MessageError, step: Step) -> Outcome:
        match step:
            case DelayTopic(label, seconds):
                return Delayed(label, round((self._clock.wall() + seconds) * 1000), failure)
            case GiveUp(Bound.DEADLINE):
                reason = f"{Bound.DEADLINE}; the last one failed: {failure.reason}"
                return Failed(PermanentError(ErrorClass.EXPIRED, reason), dead_letter=False)
            case GiveUp() | WaitInMemory():
                rest, allowed = message.marks.fallback, self._allowed(message)
                if targets := self._chains.failed(failure.error_class, rest, allowed):
                    return Rerouted(targets[0], targets[1:])
                return Failed(failure, deserves_dead_letter(failure))


def _failure(state: RetryCallState) -> MessageError:
    error = state.outcome.exception() if state.outcome is not None else None
    assert isinstance(error, MessageError)  # noqa: S101 - the only kind that is retried
    return error
