"""From a record to its outcome: decode, decide, expire. Pure, and total: every record has exactly one outcome."""

import traceback
from collections.abc import Iterator, Sequence
from typing import NamedTuple

import structlog

from schemas import headers as h
from schemas.codec import decode_request
from schemas.dead_letter import Failure
from schemas.envelope import Request
from schemas.errors import DecodeError, ErrorClass, Stage
from workers.core.clock import Clock
from workers.core.records import Received
from workers.core.topology.change import leads_to
from workers.core.topology.model import Topology
from workers.core.topology.names import Names
from workers.policies.guess import Classifier
from workers.policies.prefer import Speeds
from workers.policies.route import Decision, compile_routes
from workers.policies.subject import Asked
from workers.router.outcomes import Outcome, Outcomes, Sender, guessed_sender, sender_of

log = structlog.get_logger()


class Decoded(NamedTuple):
    """A record that could be read."""

    record: Received
    sender: Sender
    asked: Asked


class Planner:
    """Decides for one topology, whose intents `classifier` knows. Raises `UsageError` for routes that can't work."""

    def __init__(
        self,
        topology: Topology,
        clock: Clock,
        classifier: Classifier | None = None,
        speeds: Speeds | None = None,
    ) -> None:
        names = Names(topology)
        self._router = compile_routes(topology, classifier, speeds)
        self._expires_after = {name: target.expires_after for name, target in topology.targets.items()}
        self._outcomes = Outcomes(names, tuple(topology.targets))
        self.leads_to = leads_to(topology)
        self._group = names.router_group
        self._clock = clock

    def plan(self, records: Sequence[Received]) -> list[Outcome]:
        """The outcome of every record, in order. Never raises."""
        now_ms = int(self._clock.wall() * 1000)
        decoded = [self._decode(record, now_ms) for record in records]
        decisions = self._decide([each.asked for each in decoded if isinstance(each, Decoded)])
        return [
            self._finish(each, next(decisions), now_ms) if isinstance(each, Decoded) else each
            for each in decoded
        ]

    def too_large(self, outcome: Outcome, reason: str) -> Outcome:
        """What becomes of a record that was to be routed and is larger than the target's topic takes."""
        failure = self._failure(
            outcome.record,
            outcome.sender,
            outcome.decision,
            (ErrorClass.TOO_LARGE, Stage.PUBLISH, reason),
        )
        return self._outcomes.failed(outcome.record, outcome.sender, outcome.decision, failure)

    def _decode(self, record: Received, now_ms: int) -> Decoded | Outcome:
        try:
            request, wire = decode_request(record.value, record.headers, received_ms=record.timestamp_ms)
            sender = sender_of(request, wire)
            key = sender.key if record.key is None else record.key
            return Decoded(record, sender, Asked(request, record.headers, now_ms / 1000, key))
        except DecodeError as error:
            sender = guessed_sender(record, error.wire)
            return self._fail(record, sender, None, (ErrorClass.SCHEMA, Stage.DECODE, str(error)))
        except Exception as error:  # noqa: BLE001 - logged there; one message must not stop all others
            return self._broken(record, error)

    def _decide(self, asked: Sequence[Asked]) -> Iterator[Decision | Exception | None]:
        """What `decide_many` says; where one message makes it fail, each is decided by itself."""
        try:
            return iter(self._router.decide_many(asked))
        except Exception:  # noqa: BLE001 - the message at fault is found, and logged, one by one
            return map(self._decide_one, asked)

    def _decide_one(self, asked: Asked) -> Decision | Exception | None:
        try:
            return self._router.decide(asked)
        except Exception as error:  # noqa: BLE001 - told where the record is known
            return error

    def _finish(self, decoded: Decoded, decision: Decision | Exception | None, now_ms: int) -> Outcome:
        record, sender, asked = decoded
        if isinstance(decision, Exception):
            return self._broken(record, decision)
        if decision is None:
            cause = (ErrorClass.UNROUTABLE, Stage.ROUTE, self._router.why_nowhere(asked))
            return self._fail(record, sender, None, cause)
        if not decision.allowed:
            return self._fail(
                record, sender, decision, (ErrorClass.UNROUTABLE, Stage.ROUTE, decision.refusal)
            )
        try:
            late = self._late_by(record, asked.request, decision, now_ms)
            if late is not None:
                reason = f"expired {late / 1000:.1f} s before it was routed"
                return self._fail(record, sender, decision, (ErrorClass.EXPIRED, Stage.ROUTE, reason))
            return self._outcomes.routed(record, sender, decision, now_ms)
        except Exception as error:  # noqa: BLE001 - logged there; one message must not stop all others
            return self._broken(record, error)

    def _broken(self, record: Received, error: Exception) -> Outcome:
        """A fault of ours in one message: it must not stop all others."""
        # Type and place alone: the text of an error may quote the message.
        log.error("routing_bug", position=record.position, error=type(error).__name__, at=_where(error))
        reason = f"the router failed on this message: {type(error).__name__}"
        sender = guessed_sender(record, None)
        return self._fail(record, sender, None, (ErrorClass.INTERNAL, Stage.ROUTE, reason))

    def _late_by(self, record: Received, request: Request, decision: Decision, now_ms: int) -> float | None:
        """Milliseconds past the message's own deadline or the target's limit; None while it is in time."""
        ends: list[float] = []
        limit = self._expires_after[decision.target]
        if limit is not None:
            ends.append((request.timestamp + limit) * 1000)
        deadline = h.get_int(record.headers, h.DEADLINE) if record.headers else None
        if deadline is not None:
            ends.append(deadline)
        if ends and now_ms >= min(ends):
            return now_ms - min(ends)
        return None

    def _fail(
        self,
        record: Received,
        sender: Sender,
        decision: Decision | None,
        cause: tuple[ErrorClass, Stage, str],
    ) -> Outcome:
        failure = self._failure(record, sender, decision, cause)
        return self._outcomes.failed(record, sender, decision, failure)

    def _failure(
        self,
        record: Received,
        sender: Sender,
        decision: Decision | None,
        cause: tuple[ErrorClass, Stage, str],
    ) -> Failure:
        error_class, stage, reason = cause
        return Failure(
            error_class,
            stage,
            reason,
            int(self._clock.wall() * 1000),
            record.topic,
            record.partition,
            record.offset,
            self._group,
            message_id=sender.message_id,
            source=sender.source,
            target=decision.target if decision else None,
            rule=decision.rule if decision else None,
        )


def _where(error: Exception) -> str:
    """File and line that raised it."""
    *_, last = traceback.extract_tb(error.__traceback__)
    return f"{last.filename}:{last.lineno}"
