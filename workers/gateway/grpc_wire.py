"""Envelopes and errors as the gRPC interface has them (schemas/relayfleet.proto)."""

from collections.abc import Mapping
from http import HTTPStatus
from typing import Any

import grpc

from schemas import relayfleet_pb2 as wire
from schemas.chunk import Chunk
from schemas.response import Response
from workers.core.redact import redact
from workers.gateway.refusals import CODES, RefusalError

ERROR_CLASS = "relay-error-class"
MESSAGE_ID = "relay-message-id"
RETRY_AFTER = "retry-after"

_BY_STATUS: Mapping[HTTPStatus, grpc.StatusCode] = {
    HTTPStatus.UNAUTHORIZED: grpc.StatusCode.UNAUTHENTICATED,
    HTTPStatus.FORBIDDEN: grpc.StatusCode.PERMISSION_DENIED,
    HTTPStatus.NOT_FOUND: grpc.StatusCode.NOT_FOUND,
    HTTPStatus.SERVICE_UNAVAILABLE: grpc.StatusCode.UNAVAILABLE,
}
"""Refusals whose HTTP status says more than their class."""


def fields_of(request: wire.RequestMessage, message_id: str | None, source: str | None) -> dict[str, Any]:
    """The fields of the request envelope."""
    payload: dict[str, Any] = {"text": request.input_text, "context": dict(request.context)}
    if request.user_id:
        payload["user_id"] = request.user_id
    if request.session_id:
        payload["session_id"] = request.session_id
    fields: dict[str, Any] = {"payload": payload}
    if message_id:
        fields["message_id"] = message_id
    if source:
        fields["source"] = source
    return fields


def message_of(response: Response) -> wire.ResponseMessage:
    """A response envelope, field by field."""
    payload, route, timing = response.payload, response.route, response.timing
    message = wire.ResponseMessage(
        message_id=response.message_id,
        source=response.source,
        payload=wire.Payload(
            text=payload.text or "", model=payload.model, finish_reason=payload.finish_reason
        ),
        status=response.status,
        route=wire.Route(
            target=route.target,
            rule=route.rule,
            instance=route.instance,
            attempts=route.attempts,
            repeated=route.repeated,
        ),
        timing=wire.Timing(
            queued=timing.queued, routed=timing.routed, model=timing.model, total=timing.total
        ),
        timestamp=response.timestamp,
    )
    if (usage := payload.usage) is not None:
        message.payload.usage.prompt_tokens = usage.prompt_tokens
        message.payload.usage.completion_tokens = usage.completion_tokens
        message.payload.usage.total_tokens = usage.total_tokens
    if (error := payload.error) is not None:
        message.payload.error.code = error.code.value
        message.payload.error.reason = redact(error.reason)
        message.payload.error.retryable = error.retryable
    return message


def chunk_of(chunk: Chunk) -> wire.ResponseChunk:
    """A piece of an answer."""
    return wire.ResponseChunk(
        message_id=chunk.message_id, attempt=chunk.attempt, index=chunk.index, text=chunk.text, run=chunk.run
    )


def code_of(refusal: RefusalError) -> grpc.StatusCode:
    """The status of a call that was refused."""
    return _BY_STATUS.get(refusal.status) or grpc.StatusCode[CODES[refusal.error_class]]


def refused(refusal: RefusalError, message_id: str | None) -> wire.ResponseMessage:
    """A refusal as a response, where a stream goes on after it."""
    error = wire.Error(
        code=refusal.error_class.value,
        reason=refusal.detail,
        retryable=refusal.retry_after is not None,
        retry_after=refusal.retry_after,
    )
    return wire.ResponseMessage(
        message_id=refusal.message_id or message_id or "", status="error", payload=wire.Payload(error=error)
    )
