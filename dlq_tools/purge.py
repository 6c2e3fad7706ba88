"""Deleting the records of letters that are settled, from the beginning of their partitions on."""

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field

from dlq_tools.ledger_records import SETTLED, Letter, State
from dlq_tools.ledger_state import LedgerState
from dlq_tools.surroundings import Surroundings
from schemas.dead_letter import read_dead_letter
from workers.core.records import Received, TopicPartition

_OPEN = 5  # unsettled letters that are named


@dataclass
class PurgePlan:
    """What a purge deletes: everything below `offsets`. `unsettled` names letters that speak against it."""

    offsets: dict[TopicPartition, int] = field(default_factory=dict)
    states: Counter[State] = field(default_factory=Counter)
    unsettled: Counter[State] = field(default_factory=Counter)
    named: list[str] = field(default_factory=list)

    @property
    def records(self) -> int:
        """How many would be deleted."""
        return self.states.total()


Before = Callable[[Received], bool]
"""Whether a record is among those to delete; the first of a partition that is not ends that partition's share."""


def before_offset(offset: int, partition: int | None) -> Before:
    """Those below an offset, in one partition or in each."""
    return lambda record: record.offset < offset and partition in {None, record.partition}


def before_time(time_ms: int, partition: int | None) -> Before:
    """Those that failed last before a time (epoch milliseconds)."""

    def before(record: Received) -> bool:
        failed_at = read_dead_letter(*record).last_failed_at_ms or record.timestamp_ms
        return failed_at < time_ms and partition in {None, record.partition}

    return before


async def plan_purge(around: Surroundings, topic: str, before: Before) -> PurgePlan:
    """Look at every record that would go. Raises `UsageError` where there is no such topic."""
    await around.ledger.refresh()
    bounds = await around.admin.end_offsets([topic])
    plan, ended = PurgePlan(), {place for place, (first, end) in bounds.items() if first >= end}
    async with around.open_reader([topic], {place: first for place, (first, _) in bounds.items()}) as reader:
        while len(ended) < len(bounds):
            for record in await reader.read(0.1):
                place = TopicPartition(record.topic, record.partition)
                if place not in ended and before(record):
                    _count(plan, record, around.ledger.state)
                    plan.offsets[place] = record.offset + 1
                else:
                    ended.add(place)
            if reader.at_end:
                break
    return plan


def _count(plan: PurgePlan, record: Received, ledger: LedgerState) -> None:
    letter = Letter(record.topic, record.partition, record.offset)
    state, row = ledger.state(letter), ledger.row(letter)
    plan.states[state] += 1
    # One that failed again is carried on by the dead letter that it became.
    settled = state in SETTLED or (state is State.FAILED_AGAIN and row is not None and row.next is not None)
    if not settled:
        plan.unsettled[state] += 1
        if len(plan.named) < _OPEN:
            plan.named.append(f"{letter} ({state.value})")


async def purge(around: Surroundings, topic: str, plan: PurgePlan) -> None:
    """Delete what was planned, and put it on record first."""
    states = ", ".join(f"{count} {state.value}" for state, count in plan.states.items())
    offsets = ", ".join(f"{place.partition}:{offset}" for place, offset in sorted(plan.offsets.items()))
    await around.ledger.audit("purge", f"{topic} below {offsets}: {states}", count=plan.records)
    await around.admin.delete_before(plan.offsets)
