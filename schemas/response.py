"""The response envelope: one for every accepted request, an answer or an error."""

from typing import Any, Literal, TypedDict

from pydantic import BaseModel, ConfigDict, Field

from schemas.envelope import LAST_SECOND, MAX_COUNT
from schemas.errors import ErrorClass


class Usage(BaseModel):
    """Tokens of the answer."""

    model_config = ConfigDict(extra="allow", allow_inf_nan=False, hide_input_in_errors=True)

    prompt_tokens: int = Field(ge=0, le=MAX_COUNT)
    completion_tokens: int = Field(ge=0, le=MAX_COUNT)
    total_tokens: int = Field(ge=0, le=MAX_COUNT)


class Cost(BaseModel):
    """Money: what all attempts at this target cost, by the deployment's prices."""

    model_config = ConfigDict(extra="allow", allow_inf_nan=False, hide_input_in_errors=True)

    amount: float = Field(ge=0)
    currency: str
    saved: float | None = None  # what an answer that was known already would have cost again


class ErrorInfo(BaseModel):
    """Why there is no answer. `reason` never holds a prompt or a secret."""

    model_config = ConfigDict(extra="allow", allow_inf_nan=False, hide_input_in_errors=True)

    code: ErrorClass
    reason: str
    retryable: bool
    retry_after: float | None = None  # seconds, where it is known when to ask again


class ResponsePayload(BaseModel):
    """The answer, or the error."""

    model_config = ConfigDict(extra="allow", allow_inf_nan=False, hide_input_in_errors=True)

    text: str | None = None
    model: str | None = None
    finish_reason: str | None = None
    usage: Usage | None = None
    cost: Cost | None = None
    choices: list[dict[str, Any]] | None = (
        None  # as the model sent them, where they hold more than one text: tool calls, several answers, …
    )
    error: ErrorInfo | None = None


class RouteTaken(BaseModel):
    """Which way the request went."""

    model_config = ConfigDict(extra="allow", allow_inf_nan=False, hide_input_in_errors=True)

    target: str | None = None
    rule: str | None = None
    instance: str | None = None
    attempts: int = Field(default=0, ge=0, le=MAX_COUNT)
    repeated: bool | None = None  # true: the message came before, and this is its recorded answer
    cached: str | None = (
        None  # exact or semantic: the answer to an earlier message with the same or a like question
    )
    shadow_of: str | None = None  # on `model_shadow`: the target whose answer the caller got


class Timing(BaseModel):
    """Milliseconds: `queued` before the router, `routed` from router to worker, `model` in the calls, `total` end to end.

    `first_token`: of a streamed answer, from the start of the call that gave it to its first piece.
    """

    model_config = ConfigDict(extra="allow", allow_inf_nan=False, hide_input_in_errors=True)

    queued: float | None = None
    routed: float | None = None
    model: float | None = None
    first_token: float | None = None
    total: float | None = None


class Response(BaseModel):
    """A response envelope. `source` is the target; `timestamp` is epoch seconds."""

    model_config = ConfigDict(extra="allow", allow_inf_nan=False, hide_input_in_errors=True)

    message_id: str = Field(min_length=1)
    source: str
    payload: ResponsePayload
    status: Literal["ok", "error"]
    route: RouteTaken
    timing: Timing
    timestamp: float = Field(ge=0, le=LAST_SECOND)

    def model_dump_wire(self) -> dict[str, Any]:
        """The fields as they go on the wire: JSON types, nulls left out."""
        return self.model_dump(mode="json", exclude_none=True)


class UsageFields(TypedDict):
    """`Usage` as a literal."""

    prompt_tokens: int
    completion_tokens: int
    total_tokens: int


class _CostRequired(TypedDict):
    amount: float
    currency: str


class CostFields(_CostRequired, total=False):
    """`Cost` as a literal."""

    saved: float


class _ErrorRequired(TypedDict):
    code: ErrorClass
    reason: str
    retryable: bool


class ErrorFields(_ErrorRequired, total=False):
    """`ErrorInfo` as a literal."""

    retry_after: float


class PayloadFields(TypedDict, total=False):
    """`ResponsePayload` as a literal."""

    text: str
    model: str
    finish_reason: str
    usage: UsageFields
    cost: CostFields
    choices: list[dict[str, Any]]
    error: ErrorFields


class RouteFields(TypedDict, total=False):
    """`RouteTaken` as a literal."""

    target: str
    rule: str
    instance: str
    attempts: int
    repeated: bool
    cached: str
    shadow_of: str


class TimingFields(TypedDict, total=False):
    """`Timing` as a literal: milliseconds."""

    queued: float
    routed: float
    model: float
    first_token: float
    total: float


class ResponseFields(TypedDict):
    """`Response` as a literal, for the hot path: checked by the type checker, written without building models.

    What is not known is left out.
    """

    message_id: str
    source: str
    payload: PayloadFields
    status: Literal["ok", "error"]
    route: RouteFields
    timing: TimingFields
    timestamp: float
