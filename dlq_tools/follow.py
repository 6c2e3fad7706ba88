"""What became of the messages that a job sent: read from the responses and from the dead letters that they became."""

from collections import Counter, deque
from collections.abc import Iterable
from dataclasses import dataclass
from typing import NamedTuple

from dlq_tools.ledger import Ledger
from dlq_tools.ledger_records import Entry, Letter, State
from dlq_tools.ledger_state import Row
from dlq_tools.replay_headers import of_job
from schemas.codec import decode_response
from schemas.dead_letter import fingerprint, read_dead_letter
from schemas.errors import DecodeError
from workers.core.ports import Reader
from workers.core.records import Received
from workers.core.redact import redact
from workers.policies.retry import TREATMENTS

LETTER_WITHIN = 5.0
"""Seconds after the response that tells of a failure in which its dead letter is there, if there is one."""

_REASON_CHARS = 200
_NO_LETTER = frozenset(each.value for each, treatment in TREATMENTS.items() if not treatment.dead_letter)


@dataclass(frozen=True, slots=True)
class StopPolicy:
    """When a job stops by itself: at this ratio of failures among the last `window` outcomes, once there are `least`."""

    ratio: float = 0.5
    window: int = 200
    least: int = 20


class Failures:
    """The last outcomes of a job."""

    def __init__(self, policy: StopPolicy) -> None:
        self._policy = policy
        self._last: deque[bool] = deque(maxlen=policy.window)

    def add(self, *, failed: bool) -> None:
        """Count an outcome."""
        self._last.append(failed)

    @property
    def too_many(self) -> bool:
        """Whether to stop."""
        seen = len(self._last)
        return seen >= self._policy.least and sum(self._last) / seen >= self._policy.ratio


class Outcome(NamedTuple):
    """What a record tells of a letter; `next` is the dead letter that it became."""

    letter: Letter
    state: State
    why: str | None
    next: str | None


def is_open(row: Row, looked_at: int = 0) -> bool:
    """Whether records may still be found about a letter: its outcome, or the dead letter that it became.

    `looked_at`: when a look began that read everything, epoch milliseconds.
    """
    return row.state is State.REPLAYED or (_is_unlinked(row) and row.at + LETTER_WITHIN * 1000 > looked_at)


def _is_unlinked(row: Row | Entry) -> bool:
    """Failed, and what it became is not known. What merely expired becomes nothing; what was refused can't be told."""
    if row.state is not State.FAILED_AGAIN or row.next is not None:
        return False
    return (row.why or "").partition(":")[0] not in _NO_LETTER


class Follower:
    """Follows the letters that it was told to expect; each is counted once, however often it is answered."""

    def __init__(self, job: str, ledger: Ledger, reader: Reader, responses: str, failures: Failures) -> None:
        self.failures = failures
        self._job = job
        self._ledger = ledger
        self._reader = reader
        self._responses = responses
        self._pending: dict[Letter, Row] = {}
        self._unlinked: dict[Letter, Row] = {}  # failed, and the dead letter has not been seen

    @property
    def pending(self) -> int:
        """How many have no outcome."""
        return len(self._pending)

    @property
    def unlinked(self) -> int:
        """How many failed and have not been seen as the dead letters that they became."""
        return len(self._unlinked)

    def expect(self, letter: Letter, row: Row) -> None:
        """A letter was sent, and is open."""
        (self._pending if row.state is State.REPLAYED else self._unlinked)[letter] = row

    async def look(self, wait: float) -> int:
        """Read what comes within `wait` seconds and put it on record. Returns how many records told something new."""
        outcomes = [
            found for record in await self._reader.read(wait) if (found := self._outcome(record)) is not None
        ]
        if any(outcome.letter in self._unlinked for outcome in outcomes):
            await self._leave_to_others()
        writes = [write for outcome in outcomes if (write := self._settle(outcome)) is not None]
        await self._ledger.write(writes)
        return len(writes)

    async def catch_up(self) -> None:
        """Read everything that was there when the reader was opened."""
        while not self._reader.at_end:
            await self.look(0.05)

    async def _leave_to_others(self) -> None:
        """Forget what failed and was discarded, claimed or sent by somebody else since: theirs is the last word."""
        await self._ledger.refresh()
        state = self._ledger.state
        for letter in list(self._unlinked):
            row = state.row(letter)
            ours = row is not None and row.job == self._job and state.state(letter) is State.FAILED_AGAIN
            if not ours:
                del self._unlinked[letter]

    def _settle(self, outcome: Outcome) -> tuple[str, Entry] | None:
        row = self._pending.pop(outcome.letter, None)
        if row is not None:
            self.failures.add(failed=outcome.state is State.FAILED_AGAIN)
        elif outcome.next is not None:
            row = self._unlinked.pop(outcome.letter, None)
        if row is None:
            return None
        entry = Entry(
            state=outcome.state,
            at=self._ledger.now_ms,
            who=row.who,
            job=row.job,
            why=outcome.why,
            replays=row.replays,
            to=row.to,
            next=outcome.next,
            twice=row.twice,
        )
        if _is_unlinked(entry):
            self._unlinked[outcome.letter] = row
        return str(outcome.letter), entry

    def _outcome(self, record: Received) -> Outcome | None:
        position = of_job(record.headers, self._job)
        letter = None if position is None else Letter.parse(position)
        if letter is None:
            return None
        if record.topic != self._responses:
            dead = read_dead_letter(*record)
            why = _why(dead.error_class, dead.message)
            return Outcome(letter, State.FAILED_AGAIN, why, record.position)
        try:
            error = decode_response(record.value, record.headers).payload.error
        except DecodeError:
            return None  # somebody else's record on our topic
        if error is None:
            return Outcome(letter, State.ANSWERED, None, None)
        return Outcome(letter, State.FAILED_AGAIN, _why(error.code, error.reason), None)


def _why(error_class: str | None, reason: str | None) -> str:
    return redact(f"{error_class or 'unknown'}: {reason or 'no reason given'}")[:_REASON_CHARS]


def causes(rows: Iterable[Row]) -> Counter[str]:
    """The failures of these letters by cause: one of each kind in words, and how many are like it."""
    examples: dict[str, str] = {}
    found: Counter[str] = Counter()
    for row in rows:
        if row.state is State.FAILED_AGAIN:
            why = row.why or "unknown"
            found[examples.setdefault(fingerprint(None, None, None, why), why)] += 1
    return found
