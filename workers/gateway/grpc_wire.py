"""Envelopes and errors as the gRPC interface has them (schemas/relayfleet.proto)."""

from collections.abc import Mapping
from http import HTTPStatus
from typing import Any

import grpc
import orjson

from schemas import relayfleet_pb2 as wire
from schemas.chunk import Chunk
from schemas.errors import DecodeError
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

_PAYLOAD = ("text", "model", "finish_reason")
_USAGE = ("prompt_tokens", "completion_tokens", "total_tokens")
_ERROR = ("code", "reason", "retryable", "retry_after")
_ROUTE = ("target", "rule", "instance", "attempts", "repeated")
_TIMING = ("queued", "routed", "model", "total")


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


def message_of(value: bytes) -> wire.ResponseMessage:
    """A response envelope as it came, field by field. Raises `DecodeError`.

    What is read here the fleet has written and checked; read as a typed envelope first it would cost eight times as much.
    """
    try:
        return _message(orjson.loads(value))
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise DecodeError("the response is no envelope") from error


def _message(fields: Mapping[str, Any]) -> wire.ResponseMessage:
    came = fields["payload"]
    payload = _some(came, _PAYLOAD)
    if (usage := came.get("usage")) is not None:
        payload["usage"] = _some(usage, _USAGE)
    if (error := came.get("error")) is not None:
        payload["error"] = {**_some(error, _ERROR), "reason": redact(error["reason"])}
    return wire.ResponseMessage(
        message_id=fields["message_id"],
        source=fields["source"],
        payload=payload,
        status=fields["status"],
        route=_some(fields["route"], _ROUTE),
        timing=_some(fields["timing"], _TIMING),
        timestamp=fields["timestamp"],
    )


def _some(fields: Mapping[str, Any], names: tuple[str, ...]) -> dict[str, Any]:
    return {name: fields[name] for name in names if name in fields}


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
