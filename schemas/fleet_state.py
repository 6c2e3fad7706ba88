"""What the processes of a fleet tell each other about themselves, on a topic of its own: a record every few seconds.

What is older than `FRESH_MS` says nothing any more. Not a place for prompts, answers or secrets.
"""

from typing import Literal
from uuid import uuid4

from pydantic import BaseModel, ConfigDict, Field

FRESH_MS = 10_000
TELL_EVERY = 2.0
"""Seconds between two records of one process."""


def process_name(kind: str) -> str:
    """A name that no other process has, nor this one after a restart."""
    return f"{kind}-{uuid4().hex[:12]}"


class _Wire(BaseModel):
    model_config = ConfigDict(extra="allow", allow_inf_nan=False, hide_input_in_errors=True)


class InstanceState(_Wire):
    """One instance of a target, as one worker sees it."""

    name: str
    breaker: str  # closed, half-open or open
    calls: int = Field(ge=0)  # under way
    limit: int = Field(ge=0)  # calls at once
    latency: float | None = None  # seconds of a call, lately; None: none was made


class ReadState(_Wire):
    """One target that a worker reads. `joined`: it has had partitions of the target's topic."""

    joined: bool
    hands_to: tuple[str, ...] = ()  # targets on which it may put messages
    instances: tuple[InstanceState, ...] = ()


class ProcessState(_Wire):
    """One process. `process` is its name while it lives, `deployment` the topic of its requests."""

    process: str
    kind: Literal["router", "worker"]
    deployment: str
    version: str  # of the topology
    fixed: dict[str, str] = Field(default_factory=dict)  # a hash of what it read at its start, by field
    gone: bool = False
    leads_to: tuple[str, ...] = ()  # targets, of a router
    reads: dict[str, ReadState] = Field(default_factory=dict)  # by target, of a worker


class DropOrder(_Wire):
    """An operator's word: the workers of a target that was removed may stop though its topics hold messages."""

    drop: str  # target
    deployment: str
