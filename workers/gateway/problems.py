"""Every error of the HTTP fronts in one form: problem details, RFC 9457."""

from http import HTTPStatus
from typing import Any

import orjson
from starlette.responses import Response as HttpResponse

from workers.core.redact import redact
from workers.gateway.refusals import STATUS, RefusalError
from workers.gateway.relay import Reply

MEDIA_TYPE = "application/problem+json"
_KIND = "urn:relayfleet:error:"


class Problem(HttpResponse):
    """One error as a response."""

    media_type = MEDIA_TYPE

    def __init__(
        self,
        status: HTTPStatus,
        code: str,
        detail: str,
        headers: dict[str, str] | None = None,
        **members: Any,
    ) -> None:
        body = {
            "type": f"{_KIND}{code}",
            "title": status.phrase,
            "status": status.value,
            "detail": detail,
            "code": code,
            **{name: value for name, value in members.items() if value is not None},
        }
        super().__init__(orjson.dumps(body), status.value, headers)


def problem_of(refusal: RefusalError, request_id: str) -> Problem:
    """A refusal as a response."""
    headers: dict[str, str] = {}
    if refusal.retry_after is not None:
        headers["Retry-After"] = str(max(1, round(refusal.retry_after)))
    if refusal.status is HTTPStatus.UNAUTHORIZED:
        headers["WWW-Authenticate"] = "Bearer"
    if refusal.message_id is not None and refusal.message_id.isascii():
        headers["Idempotency-Key"] = refusal.message_id
    return Problem(
        refusal.status,
        refusal.error_class.value,
        refusal.detail,
        headers,
        message_id=refusal.message_id,
        request_id=request_id,
    )


def problem_of_reply(reply: Reply, request_id: str) -> Problem:
    """An error response of the fleet as a response."""
    response = reply.response()
    error = response.payload.error
    if error is None:
        status, code = HTTPStatus.BAD_GATEWAY, "internal"
        reason, retryable = "the fleet answered with an error and no reason", None
    else:
        status, code = STATUS[error.code], error.code.value
        reason, retryable = redact(error.reason), error.retryable
    return Problem(
        status,
        code,
        reason,
        message_id=response.message_id,
        target=response.route.target,
        retryable=retryable,
        request_id=request_id,
    )
