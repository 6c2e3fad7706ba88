"""Marking letters as not worth a replay. They stay where they are, until `purge` or their retention."""

from collections import Counter
from dataclasses import dataclass, field

from dlq_tools.ledger_records import Entry, Letter, Spec, State, Value
from dlq_tools.surroundings import Selection, Surroundings

_DISCARDABLE = frozenset({State.NEW, State.FAILED_AGAIN, State.PARKED})


@dataclass
class Discarded:
    """Counts. `left_out` are letters of the selection whose state speaks against it."""

    selected: int = 0
    left_out: Counter[State] = field(default_factory=Counter)


async def discard(
    around: Surroundings, selection: Selection, spec: Spec, reason: str, *, send: bool | None
) -> tuple[Discarded, bool]:
    """Mark the letters of a selection; `send` None: only where it is a single one. Says whether anything was marked.

    A letter that some job sends just now is left to it.
    """
    bounds = await around.ends(spec.topics)
    found = Discarded()
    letters: list[Letter] = []
    async for records in selection.letters(spec, bounds):
        for record in records:
            letter = Letter(record.topic, record.partition, record.offset)
            state = around.ledger.state.state(letter)
            if state in _DISCARDABLE:
                letters.append(letter)
            else:
                found.left_out[state] += 1
    found.selected = len(letters)
    wanted = len(letters) == 1 if send is None else send
    if not wanted or not letters:
        return found, False
    ledger = around.ledger
    deed = ledger.deed(
        "discard", f"{spec.where or 'letters'} of {', '.join(spec.topics)}: {reason}", count=len(letters)
    )
    # The reader has to be past whatever a job claimed before: what is claimed is left to its job.
    await ledger.write_and_read(*deed)
    writes: list[tuple[str, Value | None]] = []
    for letter in letters:
        if ledger.state.holder(letter) is None:
            row = ledger.state.row(letter)
            replays = 0 if row is None else row.replays
            entry = Entry(
                state=State.DISCARDED, at=ledger.now_ms, who=ledger.who, why=reason, replays=replays
            )
            writes.append((str(letter), entry))
    await ledger.write(writes)
    found.selected = len(writes)
    return found, True
