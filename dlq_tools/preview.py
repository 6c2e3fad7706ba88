"""What a replay would do, found out without doing it."""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from dlq_tools.estimate import Estimate
from dlq_tools.ledger_records import Job, Letter, State
from dlq_tools.ledger_state import LedgerState
from dlq_tools.plan import Kept, Planned, Planner, Stays, selectable
from dlq_tools.surroundings import Selection
from schemas import headers as h
from workers.core.errors import UsageError
from workers.core.records import Received, TopicPartition

_SAMPLE = 5


@dataclass
class Preview:
    """Counts of a selection. `left_out` are letters that are not selected; `estimate` is None where nobody asked."""

    selected: int = 0
    sendable: int = 0
    estimate: Estimate | None = None
    destinations: Counter[str] = field(default_factory=Counter)
    kept: Counter[Stays] = field(default_factory=Counter)
    reasons: dict[Stays, str] = field(default_factory=dict)
    left_out: Counter[State] = field(default_factory=Counter)
    sample: list[dict[str, Any]] = field(default_factory=list)

    def add(self, planned: Planned | Kept) -> None:
        """Count a letter of the selection."""
        self.selected += 1
        if isinstance(planned, Kept):
            self.kept[planned.why] += 1
            self.reasons.setdefault(planned.why, f"{planned.letter}: {planned.reason}")
            return
        self.sendable += 1
        if self.estimate is not None:
            self.estimate.add(planned)
        self.destinations[planned.record.topic] += 1
        if len(self.sample) < _SAMPLE:
            self.sample.append(
                {
                    "letter": str(planned.letter),
                    "message_id": h.get(planned.record.headers, h.MESSAGE_ID),
                    "to": planned.record.topic,
                    "replay": planned.replays,
                }
            )

    def require_destination(self) -> None:
        """Raise `UsageError` where nothing can be sent because it has nowhere to go."""
        for why in (Stays.NO_TARGET, Stays.NO_PLACE):
            if not self.sendable and self.kept[why]:
                raise UsageError(self.reasons[why])

    def as_json(self) -> dict[str, Any]:
        """For machines."""
        return {
            "selected": self.selected,
            "would_send": self.sendable,
            "destinations": dict(self.destinations),
            "estimate": None if self.estimate is None else self.estimate.as_json(),
            "kept": {why.value: count for why, count in self.kept.items()},
            "reasons": {why.value: reason for why, reason in self.reasons.items()},
            "left_out": {state.value: count for state, count in self.left_out.items()},
            "sample": self.sample,
        }


async def preview(
    job: Job,
    selection: Selection,
    planner: Planner,
    ledger: LedgerState,
    bounds: Mapping[TopicPartition, int],
    estimate: Estimate | None = None,
) -> Preview:
    """Plan a whole selection and send nothing. Raises `UsageError` for a letter that can't be changed as asked."""
    found = Preview(estimate=estimate)
    sent = sum(row.state is not State.PARKED for _, row in ledger.rows(job.name))
    async for records in selection.letters(job.spec, bounds):
        for record in records:
            if job.spec.most is not None and found.sendable + sent >= job.spec.most:
                return found
            look(record, job, planner, ledger, found)
    return found


def look(
    record: Received, job: Job, planner: Planner, ledger: LedgerState, found: Preview
) -> Planned | Kept | None:
    """Plan one letter and count it; None where it does not belong to the selection. Raises as `preview` does."""
    letter = Letter(record.topic, record.partition, record.offset)
    if not selectable(ledger, letter, job.spec, job.name):
        found.left_out[ledger.state(letter)] += 1
        return None
    planned = planner.plan(record, ledger)
    found.add(planned)
    return planned
