"""Claims: the right to decide about letters. Whose claim comes first in the log has it, until it is ended.

Whoever sends, parks or discards a letter claims it first, and writes about it only while the claim holds it: so a
discard that meets a replay leaves the letter to it, and the other way round, in whichever order their records land.
What became of a message that was sent is written by the job that sent it.
"""

from collections.abc import Iterable, Sequence

from dlq_tools.ledger import Ledger
from dlq_tools.ledger_records import Claim, Letter, by_topic, grouped
from dlq_tools.ledger_state import LedgerState, Row
from workers.core.records import TopicPartition

DISCARDING = "discard/"
"""What the names of those begin with who discard; no job's name holds a slash."""

SECONDS = 30.0
"""How long somebody who discards may take over one claim; a claim of twice the age was left by a process that died."""

Seen = tuple[Letter, Row | None]
"""A letter, and what the ledger said of it when it was decided what to do."""


async def claim(
    ledger: Ledger, key: str, job: str, letters: Sequence[Letter], marks: dict[TopicPartition, int]
) -> None:
    """Claim letters; when this returns everything before the claim is known. `marks`: where their destinations end.

    Raises `UnreachableError`.
    """
    token = key.rpartition("/")[2].partition("-")[0]
    opened = Claim(
        job=job, token=token, at=ledger.now_ms, letters=grouped(list(letters)), marks=by_topic(marks)
    )
    await ledger.write_and_read(key, opened)


def held(state: LedgerState, key: str, seen: Iterable[Seen]) -> frozenset[Letter]:
    """Those that are ours: claimed by nobody before, and still what they were."""
    return frozenset(
        letter for letter, row in seen if state.holder(letter) == key and state.row(letter) == row
    )


async def end_abandoned(ledger: Ledger) -> None:
    """End the claims that somebody left who died while discarding; nothing was sent under them."""
    too_old = ledger.now_ms - round(2 * SECONDS * 1000)
    left = [
        key
        for key, opened in ledger.state.claims.items()
        if opened.job.startswith(DISCARDING) and opened.at < too_old
    ]
    await ledger.write([(key, None) for key in left])
    for key in left:
        ledger.state.end_claim(key)
