"""Claims that a killed job left open: which of their letters were sent is on record where they were sent to."""

from collections.abc import Iterable

from dlq_tools.ledger_records import Claim, Entry, Letter, State, Value, by_place
from dlq_tools.replay_headers import of_job
from dlq_tools.surroundings import Surroundings
from schemas import headers as h


async def settle_claims(around: Surroundings, job: str) -> tuple[int, int]:
    """Decide about every letter of a job's open claims, and end the claims.

    A letter whose replay is found after the claim's marks was sent. Where the records since then were deleted nobody
    can tell: such a letter is new again, and marked as maybe sent. Returns how many of either there were. The job's
    lease must be held.
    """
    sent = unsure = 0
    for key, claim in around.ledger.state.claims_of(job).items():
        letters = around.ledger.state.granted(key)
        found, whole = await _look(around, claim, letters)
        missing = [] if whole else [letter for letter in letters if letter not in found]
        writes: list[tuple[str, Value | None]] = [
            (str(letter), _sent(around, claim, *place)) for letter, place in found.items()
        ]
        writes += [(str(letter), _unsure(around, claim, letter)) for letter in missing]
        await around.ledger.write([*writes, (key, None)])
        sent, unsure = sent + len(found), unsure + len(missing)
    return sent, unsure


async def _look(
    around: Surroundings, claim: Claim, letters: Iterable[Letter]
) -> tuple[dict[Letter, tuple[str, int]], bool]:
    """Which letters are where they were to go, with the number of their replay, and whether everything since the marks is still there."""
    marks = by_place(claim.marks)
    if not marks:
        return {}, True
    wanted = set(letters)
    topics = sorted({place.topic for place in marks})
    firsts = await around.admin.end_offsets(topics)
    whole = all(first <= marks.get(place, 0) for place, (first, _) in firsts.items())
    found: dict[Letter, tuple[str, int]] = {}
    async with around.open_reader(topics, marks) as reader:
        while not reader.at_end:
            for record in await reader.read(0.1):
                position = of_job(record.headers, claim.job)
                letter = None if position is None else Letter.parse(position)
                if letter in wanted and letter is not None:
                    found[letter] = record.topic, h.get_int(record.headers, h.REPLAY_COUNT) or 1
    return found, whole


def _sent(around: Surroundings, claim: Claim, topic: str, replays: int) -> Entry:
    return Entry(
        state=State.REPLAYED, at=claim.at, who=around.ledger.who, job=claim.job, replays=replays, to=topic
    )


def _unsure(around: Surroundings, claim: Claim, letter: Letter) -> Entry:
    row = around.ledger.state.row(letter)
    return Entry(
        state=State.NEW,
        at=around.ledger.now_ms,
        who=around.ledger.who,
        why=f"job {claim.job} may have sent it",
        replays=0 if row is None else row.replays,
        twice=True,
    )
