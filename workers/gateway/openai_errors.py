"""Errors as OpenAI's clients know them: one object, and the status that makes their exceptions the right ones."""

from http import HTTPStatus

import orjson
from starlette.responses import Response as HttpResponse

from schemas.errors import ErrorClass
from schemas.response import Response
from workers.core.redact import redact
from workers.gateway.refusals import STATUS, RefusalError

_TYPES = {
    HTTPStatus.UNAUTHORIZED: "authentication_error",
    HTTPStatus.FORBIDDEN: "permission_error",
    HTTPStatus.TOO_MANY_REQUESTS: "rate_limit_error",
}
_CODES = {
    ErrorClass.CONTEXT_LENGTH: "context_length_exceeded",
    ErrorClass.RATE_LIMITED: "rate_limit_exceeded",
}


class OpenAIError(Exception):
    """An error for a client: `body` is the object, `headers` go along."""

    def __init__(
        self,
        status: HTTPStatus,
        message: str,
        code: str | None,
        *,
        param: str | None = None,
        headers: dict[str, str] | None = None,
    ) -> None:
        super().__init__(message)
        # What can't be processed is a bad request here.
        self.status = HTTPStatus.BAD_REQUEST if status is HTTPStatus.UNPROCESSABLE_ENTITY else status
        server = self.status >= HTTPStatus.INTERNAL_SERVER_ERROR
        kind = _TYPES.get(self.status, "server_error" if server else "invalid_request_error")
        self.body = {"error": {"message": message, "type": kind, "param": param, "code": code}}
        self.headers = headers or {}

    def response(self) -> HttpResponse:
        """As an HTTP response."""
        return HttpResponse(orjson.dumps(self.body), self.status, self.headers, "application/json")


def of_refusal(refusal: RefusalError) -> OpenAIError:
    """What the gateway itself declines."""
    headers = {}
    if refusal.retry_after is not None:
        headers["Retry-After"] = str(max(1, round(refusal.retry_after)))
    if refusal.status is HTTPStatus.UNAUTHORIZED:
        headers["WWW-Authenticate"] = "Bearer"
    code = "invalid_api_key" if refusal.status is HTTPStatus.UNAUTHORIZED else _code(refusal.error_class)
    return OpenAIError(refusal.status, refusal.detail, code, headers=headers)


def of_response(response: Response) -> OpenAIError:
    """What a message failed of in the fleet."""
    error = response.payload.error
    if error is None:
        return OpenAIError(
            HTTPStatus.BAD_GATEWAY, "the fleet answered with an error and no reason", "internal"
        )
    # The fleet has tried as often as its topology says: the client need not try the same again.
    headers = {} if error.retryable else {"x-should-retry": "false"}
    return OpenAIError(STATUS[error.code], redact(error.reason), _code(error.code), headers=headers)


def bad_request(message: str, param: str, code: str | None = None) -> OpenAIError:
    """A field of the body is not what it should be."""
    return OpenAIError(HTTPStatus.BAD_REQUEST, message, code, param=param)


def too_late(message_id: str) -> OpenAIError:
    """No answer in time."""
    message = f"no answer came in time; when it comes it is found under /api/responses/{message_id}"
    return OpenAIError(HTTPStatus.GATEWAY_TIMEOUT, message, "timeout")


def _code(error_class: ErrorClass) -> str:
    return _CODES.get(error_class, error_class.value)
