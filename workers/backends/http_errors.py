"""What HTTP says went wrong, in the fleet's classes. Reasons never hold a body, a URL or a header."""

import email.utils
import math
from collections.abc import Callable
from datetime import UTC

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
