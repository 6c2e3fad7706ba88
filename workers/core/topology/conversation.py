"""The typed form of a target's `conversation`: what is remembered between the messages of a session."""

from typing import Literal

from pydantic import Field

from workers.core.topology.base import Strict
from workers.core.topology.values import Bytes, Count, Seconds


class Conversation(Strict):
    """The last turns of a session (`payload.session_id`) are given to the model before its next message.

    Kept are at most `turns`, of `max_bytes` together, for `ttl` after the last one. With the store down a message is
    answered without them, or waits.
    """

    turns: Count = Field(default=10, ge=1, le=1000)
    ttl: Seconds = Field(default=3600.0, ge=1)
    max_bytes: Bytes = Field(default=32_000, ge=256, le=1_000_000)
    when_store_down: Literal["continue", "pause"] = "continue"
