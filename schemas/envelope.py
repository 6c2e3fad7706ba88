"""The request envelope, as producers write it. Unknown fields are kept, never dropped.

Types are strict, as in the published JSON Schema: a number in quotes is a mistake of the producer, and said to be one.
"""

from typing import Any

from pydantic import BaseModel, ConfigDict, Field

_OPEN = ConfigDict(extra="allow", strict=True, allow_inf_nan=False, hide_input_in_errors=True)
MAX_ID_CHARS = 256
MAX_MESSAGES = 10_000
MAX_COUNT = 2**63 - 1  # the largest whole number that every format holds
LAST_SECOND = 253_402_300_799  # of the year 9999: what is later was written in milliseconds


class Message(BaseModel):
    """One turn of a chat."""

    model_config = _OPEN

    role: str
    content: str | list[Any] | None = None


class Payload(BaseModel):
    """What is asked: `text`, or `messages` in chat form, or both (then `messages` is the history)."""

    model_config = _OPEN

    text: str | None = None
    messages: list[Message] | None = Field(default=None, max_length=MAX_MESSAGES)
    context: dict[str, Any] = Field(default_factory=dict)
    model: str | None = None
    parameters: dict[str, Any] = Field(default_factory=dict)
    user_id: str | None = None
    session_id: str | None = None
    stream: bool = False


class Request(BaseModel):
    """A request envelope. `timestamp` is epoch seconds."""

    model_config = _OPEN

    message_id: str = Field(min_length=1, max_length=MAX_ID_CHARS)
    source: str = Field(min_length=1, max_length=256)
    payload: Payload
    timestamp: float = Field(ge=0, le=LAST_SECOND)
