"""What leaves the router for one record: to its target, or as a failure that the caller learns of."""

from typing import Any, NamedTuple

import orjson

from schemas import headers as h
from schemas.codec import encode_response
from schemas.dead_letter import Failure, dead_letter_headers, origin_fields
from schemas.envelope import Request
from schemas.errors import ErrorClass, Stage
from schemas.formats import WireFormat
from schemas.response import ResponseFields, RouteFields
from workers.core.records import Headers, Outgoing, Received, echoed
from workers.core.topology.names import Names
from workers.policies.retry import TREATMENTS
from workers.policies.route import Decision

_MAX_ID = 256
_ROUTER = "router"  # `source` of a response to a message that has no target


class Sender(NamedTuple):
    """What identifies a message, as far as it is known; the record's position where nothing else does."""

    message_id: str
    source: str | None = None
    format: WireFormat = WireFormat.JSON
    key: bytes | None = None  # what the producer would have been given, where the record has none


class Outcome(NamedTuple):
    """One record's way: what is published for it, and what logs and metrics say. `error` None: it was routed."""

    record: Received
    outgoing: tuple[Outgoing, ...]
    sender: Sender
    decision: Decision | None
    error: ErrorClass | None = None
    stage: Stage | None = None
    shadow: Outgoing | None = None  # a copy for another target, which may be lost

    @property
    def dead_lettered(self) -> bool:
        """Whether a dead letter is among what is published."""
        return self.error is not None and _deserves_dead_letter(self.error, self.decision)


class Outcomes:
    """Builds outcomes for one deployment. Pure."""

    def __init__(self, names: Names, targets: tuple[str, ...]) -> None:
        self._names = names
        self._topics = {target: names.target(target) for target in targets}

    def routed(self, record: Received, sender: Sender, decision: Decision, now_ms: int) -> Outcome:
        """To the target's topic: the value byte for byte, the producer's headers and ours."""
        outgoing = Outgoing(
            self._topics[decision.target],
            record.key if record.key is not None else sender.key,
            record.value,
            _routing_headers(record, sender, decision, now_ms),
        )
        shadow = None if decision.shadow is None else self._copy(outgoing, decision.shadow, decision.target)
        return Outcome(record, (outgoing,), sender, decision, shadow=shadow)

    def _copy(self, outgoing: Outgoing, target: str, instead_of: str) -> Outgoing:
        headers = h.with_headers(outgoing.headers, {h.TARGET: target, h.SHADOW_OF: instead_of})
        return outgoing._replace(topic=self._topics[target], headers=headers)

    def failed(
        self, record: Received, sender: Sender, decision: Decision | None, failure: Failure
    ) -> Outcome:
        """An error response, and a dead letter unless the message merely expired or was not allowed."""
        outgoing: list[Outgoing] = []
        key = record.key if record.key is not None else sender.key
        if _deserves_dead_letter(failure.error_class, decision):
            headers = dead_letter_headers(record.headers, failure)
            outgoing.append(
                Outgoing(
                    self._names.dead_letters, key, record.value, headers, timestamp_ms=record.timestamp_ms
                )
            )
        encoded = encode_response(_response(record, sender, decision, failure), sender.format)
        carried = h.carried(record.headers)
        ours = {**encoded.headers, h.MESSAGE_ID: sender.message_id}
        if sender.source is not None:
            ours[h.SOURCE] = sender.source
        headers = h.with_headers(carried, ours)
        place = h.reply_partition(headers)
        outgoing.append(Outgoing(self._names.responses, echoed(key), encoded.value, headers, place))
        return Outcome(record, tuple(outgoing), sender, decision, failure.error_class, failure.stage)


def _deserves_dead_letter(error: ErrorClass, decision: Decision | None) -> bool:
    """Whether there is something for an operator to mend; a tenant that asks for what is not its own is told, no more."""
    return TREATMENTS[error].dead_letter and (decision is None or decision.allowed)


def _routing_headers(record: Received, sender: Sender, decision: Decision, now_ms: int) -> Headers:
    added = {
        h.MESSAGE_ID: sender.message_id,
        h.SOURCE: sender.source or "",
        h.TARGET: decision.target,
        h.ROUTE: decision.rule,
        h.RECEIVED_AT: str(record.timestamp_ms),
        h.ROUTED_AT: str(now_ms),
        **origin_fields(record.headers, record.topic, record.partition, record.offset),
    }
    # A header of a producer's own making must not cost it its answer.
    kept = h.without_headers(record.headers, (h.SHADOW_OF,)) if record.headers else ()
    return h.with_headers(kept, added)


def _response(
    record: Received, sender: Sender, decision: Decision | None, failure: Failure
) -> ResponseFields:
    retryable = TREATMENTS[failure.error_class].retryable
    queued = max(0.0, float(failure.failed_at_ms - record.timestamp_ms))
    route: RouteFields = {"attempts": 0}
    if decision is not None:
        route["target"], route["rule"] = decision.target, decision.rule
    return {
        "message_id": sender.message_id,
        "source": decision.target if decision else _ROUTER,
        "payload": {
            "error": {"code": failure.error_class, "reason": failure.reason, "retryable": retryable},
        },
        "status": "error",
        "route": route,
        "timing": {"queued": queued, "total": queued},
        "timestamp": failure.failed_at_ms / 1000,
    }


def sender_of(request: Request, wire: WireFormat) -> Sender:
    """What identifies a message that could be read; its key follows session, user, message."""
    payload = request.payload
    key = payload.session_id or payload.user_id or request.message_id
    return Sender(request.message_id, request.source, wire, key.encode("utf-8", "replace"))


def guessed_sender(record: Received, wire: str | None) -> Sender:
    """What identifies a message that is no envelope: an id in whatever JSON it is, a header, its key, or its position.

    The position is `topic:partition:offset`, which the producer knows from the broker's acknowledgement.
    """
    fields = _object(record.value)
    wire_format = next((each for each in WireFormat if each.value == wire), WireFormat.JSON)
    key = record.key.decode("utf-8", "replace") if record.key is not None else None
    candidates = (
        fields.get("message_id"),
        h.get(record.headers, h.MESSAGE_ID),
        h.get(record.headers, "ce_id"),
        fields.get("id") if "specversion" in fields else None,
        key,
        record.position,
    )
    message_id = next(each for each in candidates if isinstance(each, str) and each)
    source = fields.get("source")
    return Sender(
        message_id[:_MAX_ID],
        source[:_MAX_ID] if isinstance(source, str) and source else None,
        wire_format,
        message_id[:_MAX_ID].encode("utf-8", "replace"),
    )


def _object(value: bytes | None) -> dict[str, Any]:
    try:
        parsed = orjson.loads(value or b"")
    except orjson.JSONDecodeError:
        return {}
    return parsed if isinstance(parsed, dict) else {}
