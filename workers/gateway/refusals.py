"""What a client is told when it gets no answer: one table of classes and statuses for all protocols."""

from collections.abc import Mapping
from http import HTTPStatus
from types import MappingProxyType

from schemas.errors import ErrorClass
from workers.core.errors import RelayError

STATUS: Mapping[ErrorClass, HTTPStatus] = MappingProxyType(
    {
        ErrorClass.RATE_LIMITED: HTTPStatus.TOO_MANY_REQUESTS,
        ErrorClass.OVERLOADED: HTTPStatus.SERVICE_UNAVAILABLE,
        ErrorClass.TIMEOUT: HTTPStatus.GATEWAY_TIMEOUT,
        ErrorClass.EXPIRED: HTTPStatus.GATEWAY_TIMEOUT,
        ErrorClass.CONNECT: HTTPStatus.BAD_GATEWAY,
        ErrorClass.UPSTREAM_5XX: HTTPStatus.BAD_GATEWAY,
        # Our credentials at the model's, not the client's with us.
        ErrorClass.AUTH: HTTPStatus.BAD_GATEWAY,
        ErrorClass.UPSTREAM_4XX: HTTPStatus.UNPROCESSABLE_ENTITY,
        ErrorClass.CONTENT_FILTER: HTTPStatus.UNPROCESSABLE_ENTITY,
        ErrorClass.CONTEXT_LENGTH: HTTPStatus.UNPROCESSABLE_ENTITY,
        ErrorClass.SCHEMA: HTTPStatus.UNPROCESSABLE_ENTITY,
        ErrorClass.UNROUTABLE: HTTPStatus.UNPROCESSABLE_ENTITY,
        ErrorClass.TOO_LARGE: HTTPStatus.REQUEST_ENTITY_TOO_LARGE,
        ErrorClass.INTERNAL: HTTPStatus.INTERNAL_SERVER_ERROR,
    }
)
"""The status of an error response that came from the fleet, by its class."""

CODES: Mapping[ErrorClass, str] = MappingProxyType(
    {
        ErrorClass.RATE_LIMITED: "RESOURCE_EXHAUSTED",
        ErrorClass.OVERLOADED: "UNAVAILABLE",
        ErrorClass.TIMEOUT: "DEADLINE_EXCEEDED",
        ErrorClass.EXPIRED: "DEADLINE_EXCEEDED",
        ErrorClass.CONNECT: "UNAVAILABLE",
        ErrorClass.UPSTREAM_5XX: "UNKNOWN",
        ErrorClass.AUTH: "FAILED_PRECONDITION",
        ErrorClass.UPSTREAM_4XX: "FAILED_PRECONDITION",
        ErrorClass.CONTENT_FILTER: "INVALID_ARGUMENT",
        ErrorClass.CONTEXT_LENGTH: "OUT_OF_RANGE",
        ErrorClass.SCHEMA: "INVALID_ARGUMENT",
        ErrorClass.UNROUTABLE: "NOT_FOUND",
        ErrorClass.TOO_LARGE: "RESOURCE_EXHAUSTED",
        ErrorClass.INTERNAL: "INTERNAL",
    }
)
"""The same over gRPC, by the names of its statuses."""


class RefusalError(RelayError):
    """The gateway did not take a request, or can't answer it.

    `detail` is for the client: it names what is wrong and what to do, and never holds a prompt or a secret.
    `retry_after` is in seconds. `message_id` is set where the request may have been taken all the same: asking again
    under this id costs no second call.
    """

    def __init__(
        self,
        error_class: ErrorClass,
        detail: str,
        *,
        status: HTTPStatus | None = None,
        retry_after: float | None = None,
        message_id: str | None = None,
    ) -> None:
        super().__init__(detail)
        self.error_class = error_class
        self.detail = detail
        self.status = status or STATUS[error_class]
        self.retry_after = retry_after
        self.message_id = message_id


def unauthenticated(detail: str) -> RefusalError:
    """Nobody whom we know."""
    return RefusalError(ErrorClass.AUTH, detail, status=HTTPStatus.UNAUTHORIZED)


def forbidden(detail: str) -> RefusalError:
    """Known, and not allowed to."""
    return RefusalError(ErrorClass.AUTH, detail, status=HTTPStatus.FORBIDDEN)


def malformed(detail: str) -> RefusalError:
    """Can't even be read."""
    return RefusalError(ErrorClass.SCHEMA, detail, status=HTTPStatus.BAD_REQUEST)


def invalid(detail: str) -> RefusalError:
    """Can be read, and is not what is needed."""
    return RefusalError(ErrorClass.SCHEMA, detail)


def unroutable(detail: str) -> RefusalError:
    """Names a target that is none."""
    return RefusalError(ErrorClass.UNROUTABLE, detail, status=HTTPStatus.NOT_FOUND)


def too_large(detail: str) -> RefusalError:
    """More than a limit allows."""
    return RefusalError(ErrorClass.TOO_LARGE, detail)


def not_found(detail: str) -> RefusalError:
    """Nothing is known under this id, or nothing that this client may see."""
    return RefusalError(ErrorClass.SCHEMA, detail, status=HTTPStatus.NOT_FOUND)


def throttled(detail: str, retry_after: float) -> RefusalError:
    """Too much at once, of one client or of all."""
    return RefusalError(ErrorClass.RATE_LIMITED, detail, retry_after=retry_after)


def unavailable(detail: str, retry_after: float, message_id: str | None = None) -> RefusalError:
    """Not now: Kafka or the store is away, or the gateway is starting or stopping."""
    return RefusalError(
        ErrorClass.CONNECT,
        detail,
        status=HTTPStatus.SERVICE_UNAVAILABLE,
        retry_after=retry_after,
        message_id=message_id,
    )
