"""Answers of one target that serve again: the same question is asked once, whoever asks it and in whichever worker."""

import asyncio
from collections.abc import Awaitable
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from schemas import headers as h
from schemas.envelope import Request
from schemas.errors import ErrorClass
from workers.core.clock import Clock
from workers.core.errors import MessageError, PermanentError, UnreachableError
from workers.core.metrics import CACHE, Metrics
from workers.core.ports import Answer, AnswerCache
from workers.inference.conversation import Waiting, Work
from workers.inference.message import AbandonedError, Answered, Message, Outcome
from workers.inference.once import Later, Lease, OncePerId, OncePolicy
from workers.inference.pool import Slot
from workers.inference.recorded import outcome_of
from workers.inference.repeats import under
from workers.policies.question import Question, question_of, says_no_cache
from workers.policies.similar import SimilarQuestions

_FIRST_LOOK, _LONGEST_LOOK = 0.02, 0.25  # seconds between two looks at a question that another worker asks


@dataclass(frozen=True, slots=True)
class CachePolicy:
    """`ttl` in seconds; `settings`: what the target adds to every question; `shared` between tenants."""

    ttl: float
    shared: bool = False
    settings: Any = None
    lease: float = 10.0


class _Known(NamedTuple):
    answer: Answer
    cached: str


@dataclass(slots=True)
class _Flight:
    """A question under way in this worker; `known` None: its message ended without an answer, or was abandoned."""

    over: asyncio.Event = field(default_factory=asyncio.Event)
    known: _Known | None = None
    abandoned: bool = False


class Cached:
    """The cache of one target's worker. Where the store is down, calls are made as without a cache."""

    def __init__(
        self,
        target: str,
        store: AnswerCache,
        policy: CachePolicy,
        metrics: Metrics,
        clock: Clock,
        similar: SimilarQuestions[Answer] | None = None,
    ) -> None:
        self._policy = policy
        self._store = store
        self._clock = clock
        self._similar = similar
        self._flights: dict[str, _Flight] = {}
        self._results = {
            result: metrics.counter(CACHE, target, result)
            for result in ("exact", "semantic", "missed", "bypassed")
        }
        once = OncePolicy(lease=policy.lease)
        self._leases = OncePerId(target, store, once, metrics, saved=self._results["exact"])

    async def renew(self) -> None:
        """Keep the leases on questions under way, for as long as this runs."""
        await self._leases.renew()

    async def close(self) -> None:
        """Wait for leases that are being ended. The store stays open."""
        await self._leases.close()

    async def process(self, work: Work, waiting: Waiting, message: Message, slot: Slot) -> Outcome:
        """The kept answer, or what `work` makes of the message. The slot is given back either way."""
        request = message.asked
        assert request is not None  # noqa: S101 - it was read before
        question = self._question(message, request)
        said = says_no_cache([h.get(message.record.headers, h.CACHE_CONTROL), _asked_for(request)])
        if said:
            self._results["bypassed"].inc()
            return await self._afresh(question, keep="no-store" not in said, work=work(message, slot))
        flight = self._flights.get(question.key)
        while flight is not None:
            waiting.give_up(slot)
            await self._follow(flight, message)
            if flight.known is not None:
                self._results[flight.known.cached].inc()
                return Answered(flight.known.answer, cached=flight.known.cached)
            slot = await waiting.acquire(message)
            message.waiting = False
            if not flight.abandoned:
                return await work(message, slot)  # one after the other would take too long
            flight = self._flights.get(question.key)
        return await self._lead(question, message, slot, _Way(work, waiting))

    def _question(self, message: Message, request: Request) -> Question:
        tenant = None
        if not self._policy.shared:
            tenant = h.get(message.record.headers, h.TENANT) or _text(
                (request.model_extra or {}).get("tenant")
            )
        return question_of(request.payload, tenant=tenant, settings=self._policy.settings)

    async def _afresh(self, question: Question, *, keep: bool, work: Awaitable[Outcome]) -> Outcome:
        outcome = await work
        if keep and isinstance(outcome, Answered):
            try:
                await self._store.replace(question.key, outcome_of(outcome.answer))
            except UnreachableError:
                return outcome
            self._learn(question, outcome.answer)
        return outcome

    async def _follow(self, flight: _Flight, message: Message) -> None:
        """Wait for the message that asks the same, and not beyond the deadline."""
        message.waiting = True
        if message.assignment.ending:
            raise AbandonedError
        left = None if message.deadline is None else message.deadline - self._clock.monotonic()
        try:
            async with asyncio.timeout(left):
                await flight.over.wait()
        except TimeoutError as error:
            why = "its deadline passed while another message asked the same"
            raise PermanentError(ErrorClass.EXPIRED, why) from error
        finally:
            message.waiting = False

    async def _lead(self, question: Question, message: Message, slot: Slot, way: "_Way") -> Outcome:
        flight = self._flights[question.key] = _Flight()
        try:
            outcome = await self._ask(question, message, slot, way)
            if isinstance(outcome, Answered):
                flight.known = _Known(outcome.answer, outcome.cached or "exact")
        except MessageError:
            raise
        except BaseException:
            flight.abandoned = True
            raise
        finally:
            del self._flights[question.key]
            flight.over.set()
        return outcome

    async def _ask(self, question: Question, message: Message, slot: Slot, way: "_Way") -> Outcome:
        start, taken = await self._begin(question, message, slot, way)
        known = await self._known(question, start)
        if known is not None:
            if taken is not None:
                way.waiting.give_up(taken)
            return known
        lease = start if isinstance(start, Lease) else None
        if taken is None:
            taken = await self._acquire(lease, message, way)
        if lease is None:
            return await way.work(message, taken)
        outcome = await under(self._leases, lease, message, taken, way.work)
        if isinstance(outcome, Answered):
            self._learn(question, outcome.answer)
        return outcome

    async def _known(self, question: Question, start: Lease | Answer | None) -> Answered | None:
        if isinstance(start, Answer):
            self._learn(question, start)
            return Answered(start, cached="exact")
        similar = self._like(question)
        self._results["missed" if similar is None else "semantic"].inc()
        if similar is None:
            return None
        if start is not None:
            await self._leases.failed(start)  # it is not the answer to this question
        return Answered(similar, cached="semantic")

    async def _begin(
        self, question: Question, message: Message, slot: Slot, way: "_Way"
    ) -> tuple[Lease | Answer | None, Slot | None]:
        """What is known of the question once no other worker asks it; and the slot, unless it was given up meanwhile."""
        held: Slot | None = slot
        look = _FIRST_LOOK
        while True:
            try:
                start = await self._leases.claim(question.key)
            except BaseException:
                if held is not None:
                    way.waiting.give_up(held)
                raise
            if not isinstance(start, Later):
                message.waiting = False
                return start, held
            if held is not None:
                way.waiting.give_up(held)
                held = None
            await way.waiting.wait(message, min(start.seconds, look))
            look = min(2 * look, _LONGEST_LOOK)

    async def _acquire(self, start: Lease | None, message: Message, way: "_Way") -> Slot:
        try:
            return await way.waiting.acquire(message)
        except BaseException:
            if start is not None:
                self._leases.abandon(start)
            raise

    def _like(self, question: Question) -> Answer | None:
        if self._similar is None:
            return None
        match = self._similar.find(question.rest, question.text, self._clock.monotonic())
        return None if match is None else match.value

    def _learn(self, question: Question, answer: Answer) -> None:
        if self._similar is not None:
            until = self._clock.monotonic() + self._policy.ttl
            self._similar.add(question.rest, question.text, answer, until)


class _Way(NamedTuple):
    """How a call is made, and how a message waits."""

    work: Work
    waiting: Waiting


def _asked_for(request: Request) -> str | None:
    return _text((request.payload.model_extra or {}).get("cache_control"))


def _text(value: object) -> str | None:
    return value if isinstance(value, str) else None
