"""`dlq list`: the dead-letter topics of a cluster, looked at without reading them."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from dlq_tools.columns import iso
from dlq_tools.ledger_index import LedgerIndex
from dlq_tools.times import age
from workers.core.errors import UsageError
from workers.core.ports import Admin

HOUR_MS = 3_600_000
_BEFORE = ("dlq.", "dlq-")
_AFTER = (".dlq", "-dlq", ".DLT", "-dlt", ".dlt")  # Spring's and Connect's habits


@dataclass(frozen=True, slots=True)
class TopicLook:
    """A topic of dead letters. `depth` counts offsets; times are those of its records, in epoch milliseconds."""

    topic: str
    partitions: int
    depth: int
    oldest_ms: int | None
    newest_ms: int | None
    last_hour: int
    states: Mapping[str, int] = field(default_factory=dict)
    """Of what is on record; all others are new."""

    def public(self, now_ms: int) -> dict[str, Any]:
        """For output. `rate` is records in the last hour."""
        return {
            "topic": self.topic,
            "partitions": self.partitions,
            "depth": self.depth,
            "oldest": iso(self.oldest_ms),
            "newest": iso(self.newest_ms),
            "oldest_age": None if self.oldest_ms is None else age(now_ms - self.oldest_ms),
            "rate_per_hour": self.last_hour,
            "new": max(0, self.depth - sum(self.states.values())),
            "on_record": dict(self.states),
        }


async def look(
    admin: Admin, named: Sequence[str], own: str, now_ms: int, ledger: LedgerIndex | None = None
) -> list[TopicLook]:
    """These topics; without any, all that are named like dead-letter topics, and the deployment's own.

    Raises `UsageError` for a named one that isn't there.
    """
    existing = await admin.topics(named or None)
    if missing := [name for name in named if name not in existing]:
        raise UsageError(f"there is no topic {', '.join(map(repr, missing))} on this cluster")
    chosen = [name for name in sorted(existing) if named or name == own or is_dead_letters(name)]
    bounds = await admin.end_offsets(chosen)
    oldest = await admin.offsets_at(chosen, 0)
    newest = await admin.offsets_at(chosen, None)
    recent = await admin.offsets_at(chosen, now_ms - HOUR_MS)

    firsts: dict[str, dict[int, int]] = {topic: {} for topic in chosen}
    for place, (first, _) in bounds.items():
        firsts[place.topic][place.partition] = first
    states = {} if ledger is None else ledger.counts(firsts)

    def looked(topic: str) -> TopicLook:
        places = [place for place in bounds if place.topic == topic]
        return TopicLook(
            topic=topic,
            partitions=len(places),
            depth=sum(bounds[place][1] - bounds[place][0] for place in places),
            oldest_ms=min((at[1] for place in places if (at := oldest[place])), default=None),
            newest_ms=max((at[1] for place in places if (at := newest[place])), default=None),
            last_hour=sum(bounds[place][1] - at[0] for place in places if (at := recent[place])),
            states=states.get(topic, {}),
        )

    return [looked(topic) for topic in chosen]


def is_dead_letters(topic: str) -> bool:
    """Whether a topic is named as those of dead letters are."""
    return topic.startswith(_BEFORE) or topic.endswith(_AFTER)
