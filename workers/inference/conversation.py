"""The conversation that a message belongs to: recalled before its first attempt, and longer by a turn after its answer."""

import hashlib
import json
from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass
from typing import NamedTuple

import orjson
import structlog

from schemas import headers as h
from schemas.envelope import Request
from workers.core.errors import UnreachableError
from workers.core.metrics import SESSION_FAILURES, Metrics
from workers.core.ports import Answer, KeptTurn, SessionBounds, SessionStore
from workers.inference.message import Answered, Message, Outcome
from workers.inference.pool import Slot
from workers.policies.conversation import Turn, brings_its_own, turn_of, with_history

log = structlog.get_logger()

_STORE_RETRY = 1.0  # seconds between two tries while the store is down and the topology says to wait


@dataclass(frozen=True, slots=True)
class ConversationPolicy:
    """What a target keeps, and whether messages wait for a store that is down."""

    bounds: SessionBounds
    wait_for_store: bool = False


Work = Callable[[Message, Slot], Awaitable[Outcome]]


class Waiting(NamedTuple):
    """How a message waits: without its slot, so that it holds up nobody's call."""

    give_up: Callable[[Slot], None]
    wait: Callable[[Message, float], Awaitable[None]]
    acquire: Callable[[Message], Awaitable[Slot]]


class Conversations:
    """The conversations of one target. With the store down nothing is lost but the model's memory."""

    def __init__(
        self, target: str, store: SessionStore, policy: ConversationPolicy, metrics: Metrics
    ) -> None:
        self._target = target
        self._store = store
        self._policy = policy
        self._failures = metrics.counter(SESSION_FAILURES, target)
        self._down = False

    async def process(self, work: Work, waiting: Waiting, message: Message, slot: Slot) -> Outcome:
        """Do `work` on a message that knows the turns before it, and remember what it answers."""
        outcome = await work(message, await self.recall(message, slot, waiting))
        if isinstance(outcome, Answered):
            await self.remember(message, outcome.answer, waiting)
        return outcome

    async def recall(self, message: Message, slot: Slot, waiting: Waiting) -> Slot:
        """Put the turns before this message into what is asked (`message.asked`). Returns the slot to go on with.

        Raises `MessageError` when the deadline passes meanwhile.
        """
        request = message.request
        if request is None or request.payload.session_id is None or brings_its_own(request.payload):
            return slot
        while True:
            try:
                kept = await self._store.turns(self._session(message, request))
            except UnreachableError as error:
                self._store_is_down(error)
            except BaseException:
                waiting.give_up(slot)
                raise
            else:
                self._store_is_up()
                message.asked = with_history(request, _turns(kept, _turn_id(request)))
                return slot
            if not self._policy.wait_for_store:
                return slot
            waiting.give_up(slot)
            await waiting.wait(message, _STORE_RETRY)
            slot = await waiting.acquire(message)
            message.waiting = False

    async def remember(self, message: Message, answer: Answer, waiting: Waiting) -> None:
        """Add the turn that this answer completes. Called again for the same message, it replaces its turn."""
        request = message.request
        if request is None or request.payload.session_id is None:
            return
        value = orjson.dumps(turn_of(request.payload, answer), default=str)
        turn = KeptTurn(_turn_id(request), value)
        while True:
            try:
                await self._store.append(self._session(message, request), turn, self._policy.bounds)
            except UnreachableError as error:
                self._store_is_down(error)
            else:
                self._store_is_up()
                return
            if not self._policy.wait_for_store:
                return
            await waiting.wait(message, _STORE_RETRY)
            message.waiting = False

    def _session(self, message: Message, request: Request) -> str:
        """Two systems, and two tenants, may both count their sessions from 1. All targets share them: one may answer
        where another can't."""
        tenant = h.get(message.record.headers, h.TENANT)
        return _digest([tenant, request.source, request.payload.session_id])

    def _store_is_down(self, error: UnreachableError) -> None:
        self._failures.inc()
        if not self._down:
            self._down = True
            so = (
                "messages of a session wait for it"
                if self._policy.wait_for_store
                else "they are answered without history"
            )
            log.error("session_store_down", target=self._target, error=str(error), so=so)

    def _store_is_up(self) -> None:
        if self._down:
            self._down = False
            log.info("session_store_up", target=self._target)


def _turn_id(request: Request) -> str:
    return _digest([request.message_id])


def _digest(parts: list[str | None]) -> str:
    return hashlib.blake2b(json.dumps(parts).encode("ascii"), digest_size=16).hexdigest()


def _turns(kept: Iterable[KeptTurn], own: str) -> list[Turn]:
    """The turns in their order, but for the message's own: a worker that was killed may have left it."""
    turns: list[Turn] = []
    for turn in kept:
        if turn.turn_id == own:
            continue
        try:
            turns.append([dict(message, role=str(message["role"])) for message in orjson.loads(turn.value)])
        except (ValueError, TypeError, LookupError) as error:
            # Of another version, or somebody else's: the rest of the conversation is worth more than an error.
            log.warning("turn_unreadable", why=type(error).__name__)
    return turns
