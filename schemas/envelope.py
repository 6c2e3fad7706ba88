"""The request envelope, as producers write it. Unknown fields are kept, never dropped."""

from typing import Any

from pydantic import BaseModel, ConfigDict, Field


class Message(BaseModel):
    """One turn of a chat."""

    model_config = ConfigDict(extra="allow")

    role: str
    content: str | list[Any] | None = None


class Payload(BaseModel):
    """What is asked: `text`, or `messages` in chat form, or both (then `messages` is the history)."""

    model_config = ConfigDict(extra="allow")

    text: str | None = None
    messages: list[Message] | None = None
    context: dict[str, Any] = Field(default_factory=dict)
    model: str | None = None
    parameters: dict[str, Any] = Field(default_factory=dict)
    user_id: str | None = None
    session_id: str | None = None
    stream: bool = False


class Request(BaseModel):
    """A request envelope. `timestamp` is epoch seconds."""

    model_config = ConfigDict(extra="allow")

    message_id: str = Field(min_length=1, max_length=256)
    source: str = Field(min_length=1, max_length=128)
    payload: Payload
    timestamp: float
