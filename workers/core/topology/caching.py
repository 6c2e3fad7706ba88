"""The typed form of a target's `cache`: which answers are kept, for how long and for whom."""

from pydantic import Field

from workers.core.topology.base import Strict
from workers.core.topology.values import Bytes, Count, Number, Seconds


class Semantic(Strict):
    """Answers for questions that are only alike: from `threshold` on (1 is the same), and nearer than any other kept
    question by `margin`. Each worker compares with the last `entries` questions that it saw.
    """

    threshold: Number = Field(default=0.9, gt=0, le=1)
    margin: Number = Field(default=0.05, ge=0, le=1)
    entries: Count = Field(default=2000, ge=1, le=20_000)


class Cache(Strict):
    """How long answers are kept for the same question, and how many; the oldest go first.

    `shared`: one tenant's answer may be another's. Without it tenants never see each other's answers.
    """

    ttl: Seconds = Field(gt=0)
    max_entries: Count = Field(default=10_000, ge=1, le=10_000_000)
    max_bytes: Bytes = Field(default=64 * 1024 * 1024, ge=1)
    shared: bool = False
    semantic: Semantic | None = None
