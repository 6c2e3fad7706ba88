"""What every front of the gateway talks to: takes questions, and gives the answers that come from the fleet.

A front builds a `Question`, gets a `Pending` once the broker has the request, and waits for its answer or its pieces.
What is refused is a `RefusalError`, which knows its class, its HTTP status and when to come again.
"""

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass, replace

import structlog

from schemas.errors import ErrorClass
from schemas.response import Response
from workers.core import metrics as m
from workers.core.clock import Clock
from workers.core.errors import FatalError, PermanentError, UnreachableError
from workers.core.metrics import Metrics
from workers.core.ports import AnswerStore, Kept, Publisher
from workers.core.records import Outgoing
from workers.core.topology.gateway import Gateway
from workers.core.topology.problems import did_you_mean
from workers.core.topology.tenants import Tenant
from workers.gateway.doorkeeper import Doorkeeper
from workers.gateway.limits import Admission
from workers.gateway.pending import Pending, Registry, Reply, key_of
from workers.gateway.question import Envelope, Question, envelope_of, record_headers
from workers.gateway.refusals import RefusalError, forbidden, invalid, too_large, unavailable, unroutable
from workers.gateway.replies import Replies
from workers.gateway.waiting import Alarm, done_within
from workers.gateway.watch import KafkaWatch

__all__ = ["Pending", "Question", "RefusalError", "Relay", "Reply", "State"]

log = structlog.get_logger()

_LOOK_EVERY = 0.5  # seconds between looks at the store for answers that others may have read
_LOOK_ALL_AFTER = 5.0
_SOON = 1.0


@dataclass(frozen=True, slots=True)
class State:
    """What is known under an id: `reply` None, it is under way."""

    reply: Reply | None


@dataclass(frozen=True, slots=True)
class RelayDeps:
    """What a relay is made of. `targets` are the topology's names."""

    settings: Gateway
    tenants: Mapping[str, Tenant]
    targets: frozenset[str]
    requests: str  # the topic
    publisher: Publisher
    store: AnswerStore
    replies: Replies
    registry: Registry
    watch: KafkaWatch
    metrics: Metrics
    clock: Clock
    doorkeeper: Doorkeeper | None = None


class Relay:
    """Takes questions. Belongs to one event loop."""

    def __init__(self, deps: RelayDeps) -> None:
        self._deps = deps
        self._settings = deps.settings
        self._clock = deps.clock
        self.admission = Admission(deps.settings.limits, deps.tenants, deps.clock)
        self._stopping = False
        self._taken = deps.metrics.counter(m.GATEWAY_REQUESTS, "taken")
        self._refused = deps.metrics.counter(m.GATEWAY_REQUESTS, "refused")
        self._waiting = deps.metrics.gauge(m.GATEWAY_WAITING)
        self._confirm = Alarm(deps.settings.confirm)

    async def submit(self, question: Question) -> Pending:
        """Send a question to the fleet; returns when the broker has it, or its answer is known already.

        Raises `RefusalError`. Give the `Pending` back: `with` it, or `cancel` it.
        """
        try:
            pending = await self._submit(question)
        except RefusalError:
            self._refused.inc()
            raise
        self._taken.inc()
        return pending

    async def find(self, tenant: str | None, message_id: str) -> Response | None:
        """The answer of a tenant's message, on whatever replica it came; None where there is none (yet)."""
        state = await self.look(tenant, message_id)
        return state.reply.response() if state is not None and state.reply is not None else None

    async def look(self, tenant: str | None, message_id: str) -> State | None:
        """What is known under this id; None: nothing. Raises `RefusalError` while the store is away."""
        key = key_of(tenant, message_id)
        try:
            (kept,) = await self._deps.store.get([key])
        except UnreachableError as error:
            raise unavailable("answers can't be looked up at the moment", _SOON, message_id) from error
        if kept is None:
            return State(None) if self._deps.registry.waiting(key) else None
        return State(Reply(kept.answer) if kept.answer is not None else None)

    async def leave(self, pending: Pending) -> None:
        """Nobody waits any more, and the client will ask for the id: let every replica know that it is under way."""
        pending.cancel()
        try:
            await self._deps.store.begin(pending.key, pending.fingerprint)
        except UnreachableError as error:
            log.warning("pending_not_noted", error=str(error), so="its id is found when the answer has come")

    def follow(
        self, tenants: Mapping[str, Tenant], targets: frozenset[str], doorkeeper: Doorkeeper | None
    ) -> None:
        """Take questions of these tenants, for these targets, from now on."""
        self._deps = replace(self._deps, tenants=tenants, targets=targets, doorkeeper=doorkeeper)
        self.admission.follow(tenants)

    def allowed(self, tenant: str | None) -> frozenset[str]:
        """The targets that a tenant may name."""
        known = self._deps.tenants.get(tenant) if tenant is not None else None
        return self._deps.targets if known is None or not known.targets else frozenset(known.targets)

    @property
    def in_service(self) -> bool:
        """Whether a question would be taken now."""
        return not (self._stopping or self._deps.watch.away) and self._deps.replies.in_service

    def stop(self) -> None:
        """Take nothing more."""
        self._stopping = True

    async def run(self) -> None:
        """Look after those who wait for what others may have read, until cancelled."""
        while True:
            await asyncio.sleep(_LOOK_EVERY)
            self._waiting.set(len(self._deps.registry))
            await self._look_elsewhere()

    # -- submitting ----------------------------------------------------------------------------------------------

    async def _submit(self, question: Question) -> Pending:
        self._check_open()
        self._check_target(question)
        envelope = envelope_of(
            question,
            self._clock,
            most_text=self._settings.limits.text,
            tenants=bool(self._deps.tenants),
        )
        places = self._deps.replies.place()
        if places is None:
            raise unavailable("the gateway is not in service yet, or can't keep answers now", _SOON)
        self.admission.enter(question.client, question.tenant)
        pending = self._pend(question, envelope, places[0])
        try:
            known = await self._known(pending, envelope)
            if known is not None and known.answer is not None:
                pending.answered(Reply(known.answer))
            else:
                if self._deps.doorkeeper is not None:
                    await self._deps.doorkeeper.check(question.tenant)
                await self._deliver(question, envelope, places)
        except BaseException:
            pending.cancel()
            raise
        return pending

    def _check_open(self) -> None:
        if self._stopping:
            raise unavailable("the gateway is stopping; ask another one", _SOON)
        self._deps.watch.check()

    def _check_target(self, question: Question) -> None:
        target, allowed = question.target, self.allowed(question.tenant)
        if target is None or target in allowed:
            return
        if target in self._deps.targets:
            raise forbidden(f"the target {target!r} is not among yours")
        raise unroutable(
            f"there is no target {target[:100]!r}; {did_you_mean(target, allowed) or 'name none'}"
        )

    def _pend(self, question: Question, envelope: Envelope, place: int) -> Pending:
        key = key_of(question.tenant, envelope.message_id)
        now = self._clock.monotonic()
        identity = (envelope.message_id, key, question.client)
        pending = Pending(identity, place, now, self._settings.limits.stream_buffer, self._left)
        pending.fingerprint = envelope.fingerprint
        self._deps.registry.add(pending)
        return pending

    def _left(self, pending: Pending) -> None:
        self._deps.registry.remove(pending)
        self.admission.leave(pending.client)

    async def _known(self, pending: Pending, envelope: Envelope) -> Kept | None:
        """What the store knows of an id that the client chose."""
        if not envelope.named:
            return None
        try:
            known = await self._deps.store.begin(pending.key, envelope.fingerprint)
        except UnreachableError as error:
            # The workers know repeated messages as well; refusing everything would be worse.
            log.warning("repeats_not_checked", error=str(error))
            return None
        if known is not None and known.fingerprint and known.fingerprint != envelope.fingerprint:
            raise invalid(f"the id {envelope.message_id!r} was used for another question; choose a new one")
        return known

    async def _deliver(self, question: Question, envelope: Envelope, places: tuple[int, int]) -> None:
        headers = record_headers(question, places, self._clock)
        record = Outgoing(self._deps.requests, envelope.key, envelope.value, headers)
        delivery = asyncio.ensure_future(self._deps.publisher.deliver([record]))
        if not await done_within(delivery, self._confirm):
            delivery.cancel()
            raise self._unconfirmed(envelope)
        error = delivery.exception()
        if error is None:
            return
        if isinstance(error, FatalError):
            raise self._unconfirmed(envelope) from error
        if isinstance(error, PermanentError) and error.error_class is ErrorClass.TOO_LARGE:
            raise too_large("the request is larger than the fleet takes") from error
        raise RefusalError(ErrorClass.INTERNAL, "the request can't be written") from error

    def _unconfirmed(self, envelope: Envelope) -> RefusalError:
        self._deps.watch.missed("a request was not confirmed")
        told = "the broker did not confirm the request; ask again under the same id"
        return unavailable(told, _SOON, envelope.message_id)

    # -- answers that others read --------------------------------------------------------------------------------

    async def _look_elsewhere(self) -> None:
        now = self._clock.monotonic()
        replies = self._deps.replies
        due = [
            pending
            for pending in self._deps.registry.all()
            if pending.reply is None
            and (now - pending.looked_at >= _LOOK_ALL_AFTER or not replies.owns(pending.place))
        ]
        if not due:
            return
        for pending in due:
            pending.looked_at = now
        try:
            found = await self._deps.store.get([pending.key for pending in due])
        except UnreachableError as error:
            log.warning("answers_elsewhere_unknown", error=str(error))
            return
        for pending, kept in zip(due, found, strict=True):
            if kept is not None and kept.answer is not None:
                pending.answered(Reply(kept.answer))
