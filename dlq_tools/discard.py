"""Marking letters as not worth a replay. They stay where they are, until `purge` or their retention."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from uuid import uuid4

from dlq_tools.claims import DISCARDING, SECONDS, claim, end_abandoned, held
from dlq_tools.ledger_records import CLAIM, Entry, Letter, Spec, State, Value
from dlq_tools.ledger_state import LedgerState
from dlq_tools.surroundings import Selection, Surroundings
from workers.core.errors import UsageError

_DISCARDABLE = frozenset({State.NEW, State.FAILED_AGAIN, State.PARKED})
_BATCH = 5000


@dataclass
class Discarded:
    """Counts. `left_out` are letters of the selection whose state speaks against it, or that a job sends just now."""

    selected: int = 0
    left_out: Counter[State] = field(default_factory=Counter)


async def discard(
    around: Surroundings, selection: Selection, spec: Spec, reason: str, *, send: bool | None
) -> tuple[Discarded, bool]:
    """Mark the letters of a selection; `send` None: only where it is a single one. Says whether anything was marked."""
    await end_abandoned(around.ledger)
    found, letters = await _choose(around, selection, spec)
    wanted = len(letters) == 1 if send is None else send
    if not wanted or not letters:
        return found, False
    chosen = f"{spec.where or 'letters'} of {', '.join(spec.topics)}"
    await around.ledger.audit("discard", f"{chosen}: {reason}", count=len(letters))
    token = uuid4().hex[:12]
    for number, start in enumerate(range(0, len(letters), _BATCH)):
        key = f"{CLAIM}{DISCARDING}{token}/{token}-{number}"
        await _mark(around, found, letters[start : start + _BATCH], key, reason)
    return found, True


async def _choose(around: Surroundings, selection: Selection, spec: Spec) -> tuple[Discarded, list[Letter]]:
    bounds = await around.ends(spec.topics)
    found, letters = Discarded(), list[Letter]()
    async for records in selection.letters(spec, bounds):
        for record in records:
            letter = Letter(record.topic, record.partition, record.offset)
            state = around.ledger.state.state(letter)
            if state in _DISCARDABLE:
                letters.append(letter)
            else:
                found.left_out[state] += 1
    found.selected = len(letters)
    return found, letters


async def _mark(
    around: Surroundings, found: Discarded, letters: Sequence[Letter], key: str, reason: str
) -> None:
    """Claim these letters, and mark those that are ours; the others are left to whoever has them."""
    ledger, clock = around.ledger, around.clock
    seen = [(letter, ledger.state.row(letter)) for letter in letters]
    began = clock.monotonic()
    await claim(ledger, key, key.removeprefix(CLAIM).rpartition("/")[0], letters, {})
    ours = held(ledger.state, key, seen)
    if clock.monotonic() - began > SECONDS:
        raise UsageError("this took so long that others may go on with these letters: discard them again")
    writes: list[tuple[str, Value | None]] = []
    for letter, row in seen:
        if letter in ours:
            replays = 0 if row is None else row.replays
            entry = Entry(
                state=State.DISCARDED, at=ledger.now_ms, who=ledger.who, why=reason, replays=replays
            )
            writes.append((str(letter), entry))
        else:
            found.selected -= 1
            found.left_out[_left(ledger.state, letter, key)] += 1
    await ledger.write([*writes, (key, None)])


def _left(ledger: LedgerState, letter: Letter, claim: str) -> State:
    """What became of a letter that is not ours: under our own claim, what its entry says."""
    row = ledger.row(letter)
    return row.state if row is not None and ledger.holder(letter) == claim else ledger.state(letter)
