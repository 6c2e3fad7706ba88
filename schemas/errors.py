"""The closed set of failure classes, which cross the wire (`payload.error.code`, `relay.error.class`, `fleet_logs`),
and the one error that reading a value raises.
"""

from enum import StrEnum


class ErrorClass(StrEnum):
    """Why a message failed. Policies, alerts and filters look at this, never at the text of a message."""

    RATE_LIMITED = "rate_limited"  # the backend asks us to come back later (429)
    OVERLOADED = "overloaded"  # the backend has no room now (503, 529)
    TIMEOUT = "timeout"  # no whole answer in time
    CONNECT = "connect"  # no connection, or it broke before the answer
    UPSTREAM_5XX = "upstream_5xx"  # the backend failed, or its answer is not one
    UPSTREAM_4XX = "upstream_4xx"  # the backend refuses this request for good
    AUTH = "auth"  # our credentials are refused
    CONTENT_FILTER = "content_filter"  # refused for its content
    CONTEXT_LENGTH = "context_length"  # longer than the model takes
    SCHEMA = "schema"  # not an envelope, or not what the target needs
    UNROUTABLE = "unroutable"  # no rule takes it, or its target is unknown, or not its tenant's
    EXPIRED = "expired"  # too late to be worth a call
    TOO_LARGE = "too_large"  # can't be published
    INTERNAL = "internal"  # our own fault


class Stage(StrEnum):
    """Where in its way through the fleet a message failed (`relay.error.stage`)."""

    DECODE = "decode"
    ROUTE = "route"
    CALL = "call"
    PUBLISH = "publish"


class DecodeError(Exception):
    """A value is not what it should be. The only error that the codecs raise.

    Its text is one line for people, safe to publish: it names format, field and byte, never what stands there.
    """

    def __init__(
        self, reason: str, *, wire: str | None = None, path: str | None = None, position: int | None = None
    ) -> None:
        """`wire` names the format, `path` the field (`payload.messages.0.role`), `position` the byte, counted from 0."""
        text = ": ".join(part for part in (wire, path, reason) if part)
        super().__init__(text if position is None else f"{text} (at byte {position})")
        self.reason = reason
        self.wire = wire
        self.path = path
        self.position = position
