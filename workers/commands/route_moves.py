"""What would go elsewhere under another topology."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from rich.table import Table

from workers.policies.route import Decision, Router
from workers.policies.subject import Asked

Place = tuple[str | None, str | None]
"""Rule and target; None where no rule takes the message, or its tenant may not use the target."""


@dataclass(slots=True)
class Moves:
    """Counts of messages by where they go now and where they would go."""

    compared: int = 0
    counts: Counter[tuple[Place, Place]] = field(default_factory=Counter)

    def compare(self, now: Router, then: Router, asked: Sequence[Asked]) -> None:
        """Count some more messages."""
        self.compared += len(asked)
        for before, after in zip(now.decide_many(asked), then.decide_many(asked), strict=True):
            pair = _place(before), _place(after)
            if pair[0] != pair[1]:
                self.counts[pair] += 1

    @property
    def to_other_targets(self) -> int:
        """Messages that another target would answer; the others would only take another rule."""
        return sum(count for (before, after), count in self.counts.items() if before[1] != after[1])

    def as_json(self) -> dict[str, Any]:
        """For machines."""
        return {
            "compared": self.compared,
            "moved": self.to_other_targets,
            "other_rule_same_target": sum(self.counts.values()) - self.to_other_targets,
            "moves": [
                {
                    "from": {"rule": before[0], "target": before[1]},
                    "to": {"rule": after[0], "target": after[1]},
                    "messages": count,
                }
                for (before, after), count in self._ranked()
            ],
        }

    def as_table(self) -> Table:
        """For people."""
        table = Table("from rule", "target", "to rule", "target", "messages")
        for (before, after), count in self._ranked():
            table.add_row(*(name or "none" for name in (*before, *after)), f"{count:,}")
        return table

    def summary(self) -> str:
        """One line."""
        same = sum(self.counts.values()) - self.to_other_targets
        rules = f", {same:,} would take another rule to the same one" if same else ""
        return f"{self.to_other_targets:,} of {self.compared:,} messages would go to another target{rules}"

    def _ranked(self) -> Sequence[tuple[tuple[Place, Place], int]]:
        """Most messages first; as many by name, since partitions are read in any order."""
        return sorted(
            self.counts.items(),
            key=lambda move: (-move[1], [name or "" for place in move[0] for name in place]),
        )


def _place(decision: Decision | None) -> Place:
    if decision is None:
        return None, None
    return decision.rule, decision.target if decision.allowed else None
