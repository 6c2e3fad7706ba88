"""From an outcome to the records that make it known. Nothing is produced here."""

from collections.abc import Mapping
from typing import NamedTuple

from schemas import headers as h
from schemas.codec import encode_response
from schemas.dead_letter import Failure, dead_letter_headers, origin_fields
from schemas.errors import Stage
from schemas.response import (
    CostFields,
    ErrorFields,
    PayloadFields,
    ResponseFields,
    RouteFields,
    TimingFields,
    UsageFields,
)
from workers.core.clock import Clock, milliseconds
from workers.core.errors import MessageError, PermanentError
from workers.core.ports import Answer, Usage
from workers.core.records import Headers, Outgoing, echoed
from workers.core.topology.names import Names
from workers.inference.message import Answered, Delayed, Failed, Message, Outcome, Rerouted, Shadowed
from workers.policies.cost import Tariff
from workers.policies.retry import TREATMENTS

_OF_ONE_TARGET = frozenset({h.ATTEMPT, h.DEFERRALS, h.NOT_BEFORE, h.FALLBACK})


class Settled(NamedTuple):
    """An outcome and the records that make it known."""

    outcome: Outcome
    records: tuple[Outgoing, ...]


class Settlement:
    """Writes the responses, delays and dead letters of one target."""

    def __init__(self, target: str, names: Names, clock: Clock, tariff: Tariff | None = None) -> None:
        self._target = target
        self._names = names
        self._group = names.worker_group(target)
        self._clock = clock
        self._tariff = tariff
        self._target_header = (h.TARGET, target.encode())

    def settle(self, message: Message, outcome: Outcome) -> Settled:
        """The records for this outcome."""
        match outcome:
            case Answered():
                return self._answered(message, outcome)
            case Failed():
                return self.failed(message, outcome)
            case Delayed():
                return Settled(outcome, (self._delayed(message, outcome),))
            case Rerouted():
                return Settled(outcome, (self._rerouted(message, outcome),))
            case Shadowed():
                return self._shadowed(message, outcome)

    def failed(self, message: Message, outcome: Failed) -> Settled:
        """An error response, and a dead letter where an operator should find the message."""
        payload = _error_payload(outcome.error)
        self._price(payload, message, outcome)
        response = self._response(message, payload, "error")
        if not outcome.dead_letter:
            return Settled(outcome, (response,))
        return Settled(outcome, (response, self._dead_letter(message, outcome.error)))

    def refused(self, message: Message, settled: Settled, refusal: PermanentError) -> Settled | None:
        """What to publish when one of the records is refused for its size, with nothing written.

        An answer becomes an error response and a dead letter; where the dead letter itself does not fit, the response
        alone says so. None: nothing is left to try.
        """
        if isinstance(settled.outcome, Shadowed):
            return Settled(Shadowed(None), ())
        if isinstance(settled.outcome, Failed) and not settled.outcome.dead_letter:
            return None
        worth_keeping = not isinstance(settled.outcome, Failed)
        what = "its answer" if isinstance(settled.outcome, Answered) else "the message with its headers"
        error = PermanentError(
            refusal.error_class, f"{what} can't be published: {refusal.reason}", stage=Stage.PUBLISH
        )
        return self.failed(message, Failed(error, dead_letter=worth_keeping))

    def _answered(self, message: Message, outcome: Answered) -> Settled:
        payload = _answer_payload(outcome.answer)
        self._price(payload, message, outcome)
        return Settled(outcome, (self._response(message, payload, "ok", outcome),))

    def _price(self, payload: PayloadFields, message: Message, outcome: Answered | Failed) -> None:
        if self._tariff is not None and (cost := _cost(self._tariff, message, outcome)) is not None:
            payload["cost"] = cost

    def _shadowed(self, message: Message, outcome: Shadowed) -> Settled:
        """A response that no caller sees, on a topic of its own."""
        match outcome.result:
            case None:
                return Settled(outcome, ())
            case MessageError():
                response = self._response(message, _error_payload(outcome.result), "error")
            case Answer():
                response = self._response(message, _answer_payload(outcome.result), "ok")
        return Settled(outcome, (response._replace(topic=self._names.shadow, partition=None),))

    def _response(
        self, message: Message, payload: PayloadFields, status: str, answered: Answered | None = None
    ) -> Outgoing:
        now = self._clock.wall()
        fields: ResponseFields = {
            "message_id": message.message_id,
            "source": self._target,
            "payload": payload,
            "status": "ok" if status == "ok" else "error",
            "route": self._route(message, answered),
            "timing": self._timing(message, now),
            "timestamp": milliseconds(now) / 1000,
        }
        encoded = encode_response(fields, message.wire)
        passed = h.carried(message.record.headers)
        headers = self._headers(message, encoded.headers)
        place = h.reply_partition(passed) if passed else None
        return Outgoing(
            self._names.responses, echoed(message.record.key), encoded.value, headers + passed, place
        )

    def _route(self, message: Message, answered: Answered | None) -> RouteFields:
        marks = message.marks
        fields: RouteFields = {"target": self._target, "attempts": message.state.attempts}
        if marks.rule is not None:
            fields["rule"] = marks.rule
        if message.instance is not None:
            fields["instance"] = message.instance
        if answered is not None and answered.repeated:
            fields["repeated"] = True
        if answered is not None and answered.cached is not None:
            fields["cached"] = answered.cached
        if marks.shadow_of is not None:
            fields["shadow_of"] = marks.shadow_of
        return fields

    def _headers(self, message: Message, encoded: Mapping[str, str]) -> Headers:
        ours = [(h.MESSAGE_ID, h.to_bytes(message.message_id)), self._target_header]
        if message.request is not None:
            ours.append((h.SOURCE, h.to_bytes(message.request.source)))
        for name, value in encoded.items():
            ours.append((name, h.to_bytes(value)))
        return tuple(ours)

    def _timing(self, message: Message, now: float) -> TimingFields:
        """Milliseconds. Between processes these are differences of wall clocks, so a skewed clock must not make them negative."""
        marks = message.marks
        taken = now - (self._clock.monotonic() - message.taken_at)
        routed = marks.received_ms if marks.routed_ms is None else marks.routed_ms
        fields: TimingFields = {
            "queued": float(max(0, routed - marks.received_ms)),
            "routed": milliseconds(max(0.0, taken - routed / 1000)),
            "model": milliseconds(message.model_seconds),
            "total": milliseconds(max(0.0, now - marks.received_ms / 1000)),
        }
        if message.first_token is not None:
            fields["first_token"] = milliseconds(message.first_token)
        return fields

    def _delayed(self, message: Message, outcome: Delayed) -> Outgoing:
        record, now = message.record, str(round(self._clock.wall() * 1000))
        first = message.state.first_failed_at
        updates = {
            **origin_fields(record.headers, record.topic, record.partition, record.offset),
            h.MESSAGE_ID: message.message_id,
            h.TARGET: self._target,
            h.RECEIVED_AT: str(message.marks.received_ms),
            h.ATTEMPT: str(message.state.attempts),
            h.DEFERRALS: str(message.state.deferrals),
            h.NOT_BEFORE: str(outcome.not_before_ms),
            h.FIRST_FAILED_AT: now if first is None else str(round(first * 1000)),
            h.LAST_FAILED_AT: now,
            h.ERROR_CLASS: outcome.error.error_class.value,
        }
        topic = self._names.retry(self._target, outcome.label)
        return Outgoing(topic, record.key, record.value, h.with_headers(record.headers, updates))

    def _rerouted(self, message: Message, outcome: Rerouted) -> Outgoing:
        """The other target counts its own attempts."""
        record = message.record
        updates = {
            **origin_fields(record.headers, record.topic, record.partition, record.offset),
            h.MESSAGE_ID: message.message_id,
            h.TARGET: outcome.target,
            h.RECEIVED_AT: str(message.marks.received_ms),
        }
        if outcome.rest:
            updates[h.FALLBACK] = ",".join(outcome.rest)
        kept = h.without_headers(record.headers, _OF_ONE_TARGET)
        topic = self._names.target(outcome.target)
        return Outgoing(topic, record.key, record.value, h.with_headers(kept, updates))

    def _dead_letter(self, message: Message, error: MessageError) -> Outgoing:
        record = message.record
        failure = Failure(
            error_class=error.error_class,
            stage=error.stage,
            reason=error.reason,
            failed_at_ms=round(self._clock.wall() * 1000),
            topic=record.topic,
            partition=record.partition,
            offset=record.offset,
            group=self._group,
            status=error.status,
            message_id=message.message_id,
            source=message.request.source if message.request is not None else None,
            target=self._target,
            instance=message.instance,
            rule=message.marks.rule,
            attempt=message.state.attempts,
            deferrals=message.state.deferrals,
        )
        headers = dead_letter_headers(record.headers, failure)
        timestamp = message.marks.received_ms
        return Outgoing(self._names.dead_letters, record.key, record.value, headers, timestamp_ms=timestamp)


def _cost(tariff: Tariff, message: Message, outcome: Answered | Failed) -> CostFields | None:
    """What its attempts here cost. None: it was called, and the backend reported no usage."""
    if message.spent is None and message.model_seconds > 0.0:
        return None
    cost: CostFields = {"amount": float(message.spent or 0), "currency": tariff.currency}
    usage = outcome.answer.usage if isinstance(outcome, Answered) else None
    if isinstance(outcome, Answered) and (outcome.repeated or outcome.cached) and usage is not None:
        cost["saved"] = float(tariff.cost(usage.prompt_tokens, usage.completion_tokens))
    return cost


def _answer_payload(answer: Answer) -> PayloadFields:
    fields: PayloadFields = {"text": answer.text}
    if answer.model is not None:
        fields["model"] = answer.model
    if answer.finish_reason is not None:
        fields["finish_reason"] = answer.finish_reason
    if answer.usage is not None:
        fields["usage"] = _usage(answer.usage)
    if answer.choices is not None:
        fields["choices"] = [dict(choice) for choice in answer.choices]
    return fields


def _error_payload(error: MessageError) -> PayloadFields:
    retryable = TREATMENTS[error.error_class].retryable
    fields: ErrorFields = {"code": error.error_class, "reason": error.reason, "retryable": retryable}
    if error.retry_after is not None:
        fields["retry_after"] = error.retry_after
    payload: PayloadFields = {"error": fields}
    if error.usage is not None:
        payload["usage"] = _usage(error.usage)
    return payload


def _usage(usage: Usage) -> UsageFields:
    return {
        "prompt_tokens": usage.prompt_tokens,
        "completion_tokens": usage.completion_tokens,
        "total_tokens": usage.total_tokens,
    }
