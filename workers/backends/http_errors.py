"""What HTTP and pyreqwest say went wrong, in the fleet's classes. Reasons never hold a body, a URL or a header."""

import email.utils
import math
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC

from pyreqwest import exceptions as foreign

from schemas.errors import ErrorClass
from workers.core.errors import MessageError, PermanentError, TransientError

MAX_RETRY_AFTER = 86_400.0
"""Seconds. A backend that asks for more is not believed; the deadline or the next attempt will tell."""

RETRYABLE = frozenset(
    {
        ErrorClass.RATE_LIMITED,
        ErrorClass.OVERLOADED,
        ErrorClass.TIMEOUT,
        ErrorClass.CONNECT,
        ErrorClass.UPSTREAM_5XX,
        ErrorClass.AUTH,  # the instance's fault, not the message's: another instance, or a mended key, may answer
    }
)


def failure(
    error_class: ErrorClass, reason: str, *, status: int | None = None, retry_after: float | None = None
) -> MessageError:
    """The error that goes with a class: transient where another attempt may succeed."""
    kind = TransientError if error_class in RETRYABLE else PermanentError
    return kind(error_class, reason, status=status, retry_after=retry_after)


def status_class(status: int) -> ErrorClass:
    """The class of an HTTP status other than 2xx, before the body is looked at."""
    known = {
        401: ErrorClass.AUTH,
        403: ErrorClass.AUTH,
        408: ErrorClass.TIMEOUT,
        429: ErrorClass.RATE_LIMITED,
        503: ErrorClass.OVERLOADED,
        529: ErrorClass.OVERLOADED,
    }
    if status in known:
        return known[status]
    # A redirect is not followed: it is a wrong address, and that must not make dead letters of every message.
    return ErrorClass.UPSTREAM_4XX if 400 <= status < 500 else ErrorClass.UPSTREAM_5XX


def retry_after(header: Callable[[str], str | None], now: float) -> float | None:
    """Seconds to wait, from `retry-after-ms` or `Retry-After` as seconds or as a date; None where it makes no sense.

    `now` is wall time in epoch seconds.
    """
    milliseconds = _number(header("retry-after-ms"))
    if milliseconds is not None:
        return min(milliseconds / 1000, MAX_RETRY_AFTER)
    text = header("retry-after")
    seconds = _number(text)
    if seconds is None and text is not None:
        seconds = _until(text, now)
    return None if seconds is None else min(seconds, MAX_RETRY_AFTER)


def _number(text: str | None) -> float | None:
    try:
        value = float(text) if text is not None else math.nan
    except ValueError:
        return None
    return value if math.isfinite(value) and value >= 0 else None


def _until(text: str, now: float) -> float | None:
    try:
        when = email.utils.parsedate_to_datetime(text)
    except (ValueError, OverflowError):
        return None
    if when.tzinfo is None:
        when = when.replace(tzinfo=UTC)
    return max(0.0, when.timestamp() - now)


PYREQWEST: Mapping[type[Exception], tuple[ErrorClass, str]] = {
    foreign.ConnectError: (ErrorClass.CONNECT, "can't be reached, or broke the connection"),
    foreign.ConnectTimeoutError: (ErrorClass.TIMEOUT, "did not answer in time"),
    foreign.ReadTimeoutError: (ErrorClass.TIMEOUT, "did not finish its answer in time"),
    foreign.WriteTimeoutError: (ErrorClass.TIMEOUT, "did not take the request in time"),
    foreign.RequestTimeoutError: (ErrorClass.TIMEOUT, "did not answer in time"),
    foreign.PoolTimeoutError: (ErrorClass.OVERLOADED, "has every connection in use"),
    foreign.ReadError: (ErrorClass.CONNECT, "broke the connection within its answer"),
    foreign.WriteError: (ErrorClass.CONNECT, "broke the connection within the request"),
    foreign.NetworkError: (ErrorClass.CONNECT, "can't be reached"),
    foreign.TransportError: (ErrorClass.CONNECT, "can't be reached"),
    foreign.ClientClosedError: (ErrorClass.CONNECT, "was let go while it was being called"),
    foreign.BodyDecodeError: (ErrorClass.UPSTREAM_5XX, "sent an answer that can't be decoded"),
    foreign.JSONDecodeError: (ErrorClass.UPSTREAM_5XX, "sent an answer that is not JSON"),
    foreign.DecodeError: (ErrorClass.UPSTREAM_5XX, "does not speak HTTP as expected"),
    foreign.RedirectError: (ErrorClass.UPSTREAM_5XX, "redirects, which is not followed"),
    foreign.StatusError: (ErrorClass.UPSTREAM_5XX, "answered with an error"),
    foreign.BuilderError: (ErrorClass.INTERNAL, "can't be sent such a request"),
    foreign.RequestPanicError: (ErrorClass.INTERNAL, "could not be called: the HTTP client failed"),
    foreign.RequestError: (ErrorClass.INTERNAL, "could not be called"),
    foreign.DetailedPyreqwestError: (ErrorClass.INTERNAL, "could not be called"),
    foreign.PyreqwestError: (ErrorClass.INTERNAL, "could not be called"),
}
"""Every exception of pyreqwest, so that a new one is noticed by a test and not by a message."""

_CONNECTING = "client error (Connect)"
_BROKEN_BODY = "error reading a body from connection"


@contextmanager
def translate_pyreqwest(name: str) -> Iterator[None]:
    """Turn what pyreqwest raises into our errors; `name` is the backend's."""
    try:
        yield
    except foreign.PyreqwestError as error:
        error_class, what = _classify(error)
        raise failure(error_class, f"{name} {what}") from error
    except ValueError as error:  # what pyreqwest raises for a header or URL that HTTP does not allow
        raise PermanentError(ErrorClass.INTERNAL, f"{name} can't be sent such a header") from error


def _classify(error: foreign.PyreqwestError) -> tuple[ErrorClass, str]:
    """The class and what to say. Some types need a look at their causes.

    The client calls a total timeout a connect timeout even where it was connected long since, and a connection that
    breaks within the answer an undecodable body.
    """
    causes = _causes(error)
    if isinstance(error, foreign.ConnectTimeoutError) and _CONNECTING in causes:
        return ErrorClass.CONNECT, "can't be reached: connecting took too long"
    if isinstance(error, foreign.BodyDecodeError) and _BROKEN_BODY in causes:
        return PYREQWEST[foreign.ReadError]
    return next(PYREQWEST[kind] for kind in type(error).__mro__ if kind in PYREQWEST)


def _causes(error: foreign.PyreqwestError) -> frozenset[str]:
    if not isinstance(error, foreign.DetailedPyreqwestError):
        return frozenset()
    return frozenset(cause["message"] for cause in error.details.get("causes") or ())
