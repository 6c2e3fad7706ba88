"""Counts what became of messages, in metrics and on `fleet_logs`, once it is delivered."""

from collections.abc import Sequence

from prometheus_client import Counter

from schemas.errors import ErrorClass, Stage
from schemas.events import EventFields, Step
from workers.core.clock import Clock, milliseconds
from workers.core.events import EventLog
from workers.core.metrics import ANSWERED, DEAD_LETTERED, REROUTED, SHADOWS, STAGE_SECONDS, Metrics
from workers.inference.attempts import Attempts, tell_usage
from workers.inference.message import Answered, Delayed, Failed, Message, Rerouted, Shadowed
from workers.inference.settle import Settled


class Tally:
    """The books of one target. Metric children are looked up once: a look-up a message is too slow."""

    def __init__(
        self, target: str, metrics: Metrics, events: EventLog, clock: Clock, attempts: Attempts
    ) -> None:
        self._target = target
        self._metrics = metrics
        self._events = events
        self._clock = clock
        self._attempts = attempts
        self._answered = {status: metrics.counter(ANSWERED, target, status) for status in ("ok", "error")}
        self._dead: dict[tuple[ErrorClass, Stage], Counter] = {
            (name, stage): metrics.counter(DEAD_LETTERED, "worker", name, stage)
            for name in ErrorClass
            for stage in Stage
        }
        self._queued, self._model, self._total = (
            metrics.histogram(STAGE_SECONDS, target, stage) for stage in ("queued", "model", "total")
        )

    def enter(self, delivered: Sequence[tuple[Message, Settled]]) -> None:
        """Enter messages whose outcomes have been delivered."""
        wall, now = self._clock.wall(), self._clock.monotonic()
        answers = 0
        for message, settled in delivered:
            if isinstance(settled.outcome, Shadowed):
                self._metrics.counter(SHADOWS, self._target, settled.outcome.word).inc()
                continue
            total = max(0.0, wall - message.marks.received_ms / 1000)
            self._model.observe(message.model_seconds)
            self._queued.observe(max(0.0, total - (now - message.taken_at)))
            self._total.observe(total)
            outcome = settled.outcome
            match outcome:
                case Answered():
                    answers += 1
                    self._tell_answer(message, outcome, total)
                case Failed():
                    self._enter_failure(message, outcome, total)
                case Rerouted(fallback):
                    self._metrics.counter(REROUTED, self._target, fallback).inc()
                case Delayed():
                    pass
        self._answered["ok"].inc(answers)
        self._attempts.show()

    def _tell_answer(self, message: Message, answered: Answered, total: float) -> None:
        answer = answered.answer
        fields = self._fields(message, total)
        fields["duration_ms"] = milliseconds(message.model_seconds)
        if answer.model is not None:
            fields["model"] = answer.model
        if message.first_token is not None:
            fields["first_token_ms"] = milliseconds(message.first_token)
        if answer.usage is not None:
            tell_usage(fields, answer.usage)
        if answered.cached is not None:
            fields["cached"] = answered.cached
        self._events.emit(Step.ANSWERED, message.message_id, fields)

    def _enter_failure(self, message: Message, failed: Failed, total: float) -> None:
        error = failed.error
        self._answered["error"].inc()
        if failed.dead_letter:
            self._dead[error.error_class, error.stage].inc()
        fields = self._fields(message, total)
        fields["error_class"] = error.error_class
        step = Step.DEAD_LETTERED if failed.dead_letter else Step.ANSWERED
        self._events.emit(step, message.message_id, fields)

    def _fields(self, message: Message, total: float) -> EventFields:
        """What there is to tell of every message that has ended."""
        fields: EventFields = {
            "target": self._target,
            "attempt": message.state.attempts,
            "total_ms": milliseconds(total),
            "position": message.record.position,
        }
        if message.request is not None:
            fields["source"] = message.request.source
        if message.marks.rule is not None:
            fields["rule"] = message.marks.rule
        if message.instance is not None:
            fields["instance"] = message.instance
        if message.spent is not None:
            fields["cost"] = float(message.spent)
        return fields
