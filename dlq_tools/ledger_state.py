"""The ledger folded: from its records, in their order, to what is so now. Pure; everybody who reads the log agrees.

Who owns a letter is decided by the log: the first claim on it that is still open holds it, and whatever is written
about the letter itself ends every claim on it. The topic is compacted, so a claim may be gone whose letters are long
decided; nothing here depends on having seen it.
"""

from collections import Counter
from collections.abc import Iterator
from sys import intern
from typing import NamedTuple

from dlq_tools import ledger_records
from dlq_tools.ledger_records import (
    JOB,
    LEASE,
    MENDED,
    Audit,
    Claim,
    Entry,
    Job,
    Lease,
    Letter,
    Mended,
    State,
    Value,
    kind_of,
    read_value,
    ungrouped,
)
from workers.core.records import Received, TopicPartition


class Row(NamedTuple):
    """An `Entry` in little memory; texts are shared between rows."""

    state: State
    at: int
    who: str
    job: str | None
    why: str | None
    replays: int
    to: str | None
    next: str | None
    twice: bool


class LedgerState:
    """What the ledger says so far."""

    def __init__(self) -> None:
        self.jobs: dict[str, Job] = {}
        self.leases: dict[str, Lease] = {}
        self.claims: dict[str, Claim] = {}
        self.audits: dict[str, Audit] = {}
        self.damaged = 0
        self._rows: dict[TopicPartition, dict[int, Row]] = {}
        self._holders: dict[Letter, str] = {}  # the claim that holds a letter
        self._mended: dict[str, Mended] = {}

    def take(self, record: Received) -> None:
        """Fold one record in."""
        key = (record.key or b"").decode("utf-8", "replace")
        if record.value is None:
            self._forget(key)
            return
        value = read_value(key, record.value)
        if value is None:
            self.damaged += 1  # of another version, or somebody else's: what it says is not known
        else:
            self._keep(key, value)

    def row(self, letter: Letter) -> Row | None:
        """What is on record about a letter; None: nothing."""
        return self._rows.get(letter.place, {}).get(letter.offset)

    def state(self, letter: Letter) -> State:
        """The state of a letter, whether an entry or a claim says it."""
        row = self.row(letter)
        if letter in self._holders:
            return State.PLANNED
        return State.NEW if row is None else row.state

    def holder(self, letter: Letter) -> str | None:
        """The key of the claim that holds a letter."""
        return self._holders.get(letter)

    def granted(self, claim: str) -> list[Letter]:
        """The letters that a claim holds: those of it that nobody had claimed before."""
        opened = self.claims.get(claim)
        letters = [] if opened is None else ungrouped(opened.letters)
        return [letter for letter in letters if self._holders.get(letter) == claim]

    def claims_of(self, job: str) -> dict[str, Claim]:
        """The open claims of a job."""
        return {key: claim for key, claim in self.claims.items() if claim.job == job}

    def end_claim(self, key: str) -> None:
        """What a null value under its key does: its letters are everybody's again."""
        claim = self.claims.pop(key, None)
        for letter in [] if claim is None else ungrouped(claim.letters):
            if self._holders.get(letter) == key:
                del self._holders[letter]

    def mended(self, letter: Letter) -> Mended | None:
        """The mended copy of a letter."""
        return self._mended.get(str(letter))

    def rows(self, job: str | None = None) -> Iterator[tuple[Letter, Row]]:
        """All letters on record, or those of one job."""
        for place, rows in self._rows.items():
            for offset, row in rows.items():
                if job is None or row.job == job:
                    yield Letter(*place, offset), row

    def count(self, job: str) -> Counter[State]:
        """How many letters of a job are in which state."""
        return Counter(row.state for _, row in self.rows(job))

    def _keep(self, key: str, value: Value) -> None:
        match value:
            case Entry():
                self._entry(key, value)
            case Claim():
                self._claim(key, value)
            case Lease():
                self._lease(key.removeprefix(LEASE), value)
            case Job():
                self.jobs[key.removeprefix(JOB)] = value
            case Mended():
                self._mended[key.removeprefix(MENDED)] = value
            case Audit():
                self.audits[key] = value

    def _forget(self, key: str) -> None:
        match kind_of(key):
            case ledger_records.CLAIM:
                self.end_claim(key)
            case ledger_records.LEASE:
                self.leases.pop(key.removeprefix(LEASE), None)
            case ledger_records.MENDED:
                self._mended.pop(key.removeprefix(MENDED), None)
            case _:
                letter = Letter.parse(key)
                if letter is not None:
                    self._rows.get(letter.place, {}).pop(letter.offset, None)

    def _entry(self, key: str, entry: Entry) -> None:
        letter = Letter.parse(key)
        if letter is None:
            self.damaged += 1
            return
        self._holders.pop(letter, None)
        self._rows.setdefault(letter.place, {})[letter.offset] = Row(
            entry.state,
            entry.at,
            intern(entry.who),
            _shared(entry.job),
            _shared(entry.why),
            entry.replays,
            _shared(entry.to),
            entry.next,
            entry.twice,
        )

    def _claim(self, key: str, claim: Claim) -> None:
        if key in self.claims:
            return  # written twice by a producer that tried again
        self.claims[key] = claim
        for letter in ungrouped(claim.letters):
            self._holders.setdefault(letter, key)

    def _lease(self, job: str, lease: Lease) -> None:
        """The first to take a free lease has it; a later one waits until it has run out or its holder is dead."""
        held = self.leases.get(job)
        free = held is None or held.token in {lease.token, lease.takes} or held.until <= lease.at
        if free:
            self.leases[job] = lease


def _shared(text: str | None) -> str | None:
    return None if text is None else intern(text)
