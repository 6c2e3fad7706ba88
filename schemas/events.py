"""One event a step on `fleet_logs`, for analysts. Never a prompt, never an answer."""

from enum import StrEnum
from typing import Any, TypedDict

from pydantic import BaseModel, ConfigDict, Field

from schemas.envelope import LAST_SECOND, MAX_COUNT
from schemas.errors import ErrorClass


class Step(StrEnum):
    """What happened to a message."""

    RECEIVED = "received"
    ROUTED = "routed"
    ATTEMPTED = "attempted"
    ANSWERED = "answered"
    DEAD_LETTERED = "dead_lettered"


class LogEvent(BaseModel):
    """A step of one message. `timestamp` is epoch seconds, `*_ms` are milliseconds."""

    model_config = ConfigDict(extra="allow", allow_inf_nan=False, hide_input_in_errors=True)

    event: Step
    message_id: str | None = None  # unknown where the value is no envelope
    timestamp: float = Field(ge=0, le=LAST_SECOND)
    process: str  # router, worker, gateway
    source: str | None = None
    target: str | None = None
    rule: str | None = None
    instance: str | None = None
    model: str | None = None
    attempt: int | None = Field(default=None, ge=0, le=MAX_COUNT)
    duration_ms: float | None = None
    first_token_ms: float | None = None  # of a streamed answer, from the start of its call
    queued_ms: float | None = None
    total_ms: float | None = None
    prompt_tokens: int | None = Field(default=None, ge=0, le=MAX_COUNT)
    completion_tokens: int | None = Field(default=None, ge=0, le=MAX_COUNT)
    total_tokens: int | None = Field(default=None, ge=0, le=MAX_COUNT)
    cost: float | None = Field(default=None, ge=0)  # in the deployment's currency
    cached: str | None = None  # exact or semantic
    error_class: ErrorClass | None = None
    position: str | None = None  # topic:partition:offset

    def model_dump_wire(self) -> dict[str, Any]:
        """The fields as they go on the wire: JSON types, nulls left out."""
        return self.model_dump(mode="json", exclude_none=True)


class EventFields(TypedDict, total=False):
    """The rest of a `LogEvent` as a literal, for the hot path: what is not known is left out."""

    source: str
    target: str
    rule: str
    instance: str
    model: str
    attempt: int
    duration_ms: float
    first_token_ms: float
    queued_ms: float
    total_ms: float
    prompt_tokens: int
    completion_tokens: int
    total_tokens: int
    cost: float
    cached: str
    error_class: ErrorClass
    position: str
