"""From a record to its outcome: decode, decide, expire. Pure, and total: every record has exactly one outcome."""

import traceback
from collections.abc import Sequence

import structlog

from schemas import headers as h
from schemas.codec import decode_request
from schemas.dead_letter import Failure
from schemas.envelope import Request
from schemas.errors import DecodeError, ErrorClass, Stage
from workers.core.clock import Clock
from workers.core.records import Received
from workers.core.topology.model import Topology
from workers.core.topology.names import Names
from workers.policies.route import Decision, compile_routes
from workers.router.outcomes import Outcome, Outcomes, Sender, guessed_sender, sender_of

log = structlog.get_logger()


class Planner:
    """Decides for one topology. Raises `UsageError` when it is made from routes that can't work."""

    def __init__(self, topology: Topology, clock: Clock) -> None:
        names = Names(topology)
        self._router = compile_routes(topology)
        self._expires_after = {name: target.expires_after for name, target in topology.targets.items()}
        self._outcomes = Outcomes(names, tuple(topology.targets))
        self._group = names.router_group
        self._clock = clock

    def plan(self, records: Sequence[Received]) -> list[Outcome]:
        """The outcome of every record, in order. Never raises."""
        now_ms = int(self._clock.wall() * 1000)
        return [self._plan_one(record, now_ms) for record in records]

    def too_large(self, outcome: Outcome, reason: str) -> Outcome:
        """What becomes of a record that was to be routed and is larger than the target's topic takes."""
        failure = self._failure(
            outcome.record,
            outcome.sender,
            outcome.decision,
            (ErrorClass.TOO_LARGE, Stage.PUBLISH, reason),
        )
        return self._outcomes.failed(outcome.record, outcome.sender, outcome.decision, failure)

    def _plan_one(self, record: Received, now_ms: int) -> Outcome:
        try:
            return self._try_one(record, now_ms)
        except Exception as error:  # noqa: BLE001 - a fault of ours in one message must not stop all others
            log.error(  # noqa: TRY400 - type and place alone: the text of an error may quote the message
                "routing_bug", position=record.position, error=type(error).__name__, at=_where(error)
            )
            reason = f"the router failed on this message: {type(error).__name__}"
            return self._fail(
                record, guessed_sender(record, None), None, (ErrorClass.INTERNAL, Stage.ROUTE, reason)
            )

    def _try_one(self, record: Received, now_ms: int) -> Outcome:
        try:
            request, wire = decode_request(record.value, record.headers)
        except DecodeError as error:
            sender = guessed_sender(record, error.wire)
            return self._fail(record, sender, None, (ErrorClass.SCHEMA, Stage.DECODE, str(error)))
        sender = sender_of(request, wire)
        decision = self._router.decide(request)
        if decision is None:
            cause = (
                ErrorClass.UNROUTABLE,
                Stage.ROUTE,
                "no route takes this message, and there is no default",
            )
            return self._fail(record, sender, None, cause)
        late = self._late_by(record, request, decision, now_ms)
        if late is not None:
            reason = f"expired {late / 1000:.1f} s before it was routed"
            return self._fail(record, sender, decision, (ErrorClass.EXPIRED, Stage.ROUTE, reason))
        return self._outcomes.routed(record, sender, decision, now_ms)

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
