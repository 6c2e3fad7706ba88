"""The ledger as a file: it says of every letter what the ledger says."""

import os
from collections import Counter
from pathlib import Path
from tempfile import TemporaryDirectory

import duckdb
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dlq_tools.discard import discard
from dlq_tools.index import Index
from dlq_tools.ledger_filling import fill_ledger
from dlq_tools.ledger_index import Changes, LedgerIndex
from dlq_tools.ledger_records import (
    CLAIM,
    MENDED,
    Claim,
    Entry,
    Letter,
    Mended,
    Spec,
    State,
    Value,
    grouped,
    write_value,
)
from dlq_tools.ledger_state import LedgerState
from dlq_tools.listing import look
from dlq_tools.reading import indexed
from dlq_tools.stats import counts
from dlq_tools.where import parse
from tests.dlq_world import DLQ, DlqWorld, Everything, dead_letter
from tests.unit.dlq.letters import NOON_MS, TOPIC
from workers.core.clock import SystemClock
from workers.core.records import Received

LETTERS = [Letter(TOPIC, partition, offset) for partition in range(2) for offset in range(3)]
ENTRIES = st.builds(
    Entry, state=st.sampled_from(State), at=st.just(NOON_MS), who=st.just("ana"), replays=st.integers(0, 3)
)
CLAIMS = st.lists(st.sampled_from(LETTERS), max_size=4, unique=True).map(
    lambda letters: Claim(job="j", token="t", at=NOON_MS, letters=grouped(letters))
)
Write = tuple[str, Value | None]
WRITES: st.SearchStrategy[Write] = (
    st.tuples(st.sampled_from(LETTERS).map(str), st.none() | ENTRIES)
    | st.tuples(st.sampled_from([f"{CLAIM}j/t-{n}" for n in range(3)]), st.none() | CLAIMS)
    | st.tuples(
        st.sampled_from(LETTERS).map(lambda letter: f"{MENDED}{letter}"),
        st.none() | st.just(Mended(at=NOON_MS, who="ben", how="editor", value="e30=")),
    )
)


def record(offset: int, write: Write) -> Received:
    key, value = write
    data = None if value is None else write_value(value)
    return Received("dead_letter_ledger", 0, offset, key.encode(), data, (), NOON_MS)


@given(st.lists(WRITES, max_size=12))
def test_folded_for_the_file_the_ledger_says_the_same(writes: list[Write]) -> None:
    state, changes = LedgerState(), Changes()
    for offset, write in enumerate(writes):
        state.take(record(offset, write))
        changes.take(record(offset, write))
    planned = {letter for _, _, letters in changes.claims.values() for letter in letters}
    for letter in LETTERS:
        row, told = state.row(letter), changes.entries.get(letter)
        assert (letter in planned) == (state.holder(letter) is not None)
        assert (None if told is None else told[0]) == (None if row is None else row.state.value)
        assert (changes.mended.get(letter) is None) == (state.mended(letter) is None)


@settings(max_examples=5, deadline=None)
@given(stretches=st.lists(st.lists(WRITES, min_size=4, max_size=8), min_size=2, max_size=2))
def test_the_file_says_what_the_ledger_says_in_whichever_stretches_it_was_read(
    stretches: list[list[Write]],
) -> None:
    state, offset = LedgerState(), 0
    with TemporaryDirectory() as home:
        index = LedgerIndex.of(Path(home), "c", "dead_letter_ledger")
        index.begin((0, 99), "id", 0.0)
        for stretch in stretches:
            changes = index.changes()
            for write in stretch:
                state.take(record(offset, write))
                changes.take(record(offset, write))
                offset += 1
            index.write(changes, offset)
        assert index.begin((0, 99), "id", 0.0) == offset
        for letter in LETTERS[:2]:
            told, row = index.standing(letter), state.row(letter)
            assert told["state"] == state.state(letter).value
            assert told.get("replays") == (None if row is None else row.replays)
            assert ("mended" in told) == (state.mended(letter) is not None)


@pytest.fixture
def world() -> DlqWorld:
    world = DlqWorld()
    world.add(*(dead_letter(number) for number in range(4)))
    return world


async def filled(world: DlqWorld, home: Path) -> LedgerIndex:
    around = await world.around()
    found = await fill_ledger(around.admin, around.open_reader, SystemClock(), home, around.ledger.topic)
    assert found is not None
    return found


async def test_what_was_done_with_a_letter_is_told_with_who_and_why(world: DlqWorld, tmp_path: Path) -> None:
    assert (await filled(world, tmp_path)).standing(world.letters()[0]) == {"state": "new"}
    around = await world.around()
    spec = Spec(topics=(DLQ,))
    first = Everything(world.broker, lambda letter: letter.offset == world.letters()[0].offset)
    await discard(around, first, spec, "the campaign is over", send=True)
    told = (await filled(world, tmp_path)).standing(world.letters()[0])
    assert {name: told[name] for name in ("state", "who", "why")} == {
        "state": "discarded",
        "who": "ana@shop",
        "why": "the campaign is over",
    }
    assert told["at"].startswith("20")


async def test_letters_are_chosen_and_counted_by_what_became_of_them(world: DlqWorld, tmp_path: Path) -> None:
    around = await world.around()
    await world.run(around, await world.begin(around, "night", most=3))
    for number, sent in enumerate(world.broker.records("model_requests.llm")[:2]):
        assert number < 2
        world.answer(sent)
    later = await world.around()
    await world.run(later, await world.begin(later, "night"), wait=0.1)
    ledger = await filled(world, tmp_path)
    index = Index.of(tmp_path, "c", DLQ, ledger.path)
    index.begin({0: (0, 4)}, "id")
    index.append([indexed(each) for each in world.broker.records(DLQ)], {0: 4})
    by_state = {row["state"]: row["count"] for row in counts(index, ["state"])}
    assert by_state == {"answered": 2, "replayed": 1, "new": 1}
    assert len(index.select(parse("state = 'new'"))) == 1
    assert (
        len(
            index.select(
                parse("job = 'night' and state_by like 'ana%' and state_at > now() - interval 1 hour")
            )
        )
        == 3
    )
    [found] = await look(around.admin, [DLQ], DLQ, around.ledger.now_ms, ledger)
    assert (found.public(0)["new"], found.states) == (1, Counter({"answered": 2, "replayed": 1}))


async def test_what_was_purged_is_not_counted(world: DlqWorld, tmp_path: Path) -> None:
    around = await world.around()
    await discard(around, Everything(world.broker), Spec(topics=(DLQ,)), "no use", send=True)
    ends = await around.ends([DLQ])
    await around.admin.delete_before(ends)
    ledger = await filled(world, tmp_path)
    [found] = await look(around.admin, [DLQ], DLQ, around.ledger.now_ms, ledger)
    assert (found.depth, found.states, found.public(0)["new"]) == (0, {}, 0)


async def test_a_cluster_without_a_ledger_has_none(world: DlqWorld, tmp_path: Path) -> None:
    around = await world.around()
    assert await fill_ledger(around.admin, around.open_reader, SystemClock(), tmp_path, "nothing") is None


async def test_a_file_that_was_not_looked_at_for_half_a_day_is_written_again(
    world: DlqWorld, tmp_path: Path
) -> None:
    around = await world.around()
    await discard(around, Everything(world.broker), Spec(topics=(DLQ,)), "no use", send=True)
    index = await filled(world, tmp_path)
    with duckdb.connect(str(index.path)) as connection:
        connection.execute("DELETE FROM entries")  # as if compaction had dropped what told of them
    assert (await filled(world, tmp_path)).standing(world.letters()[0]) == {"state": "new"}
    old = SystemClock().wall() - 13 * 3600
    os.utime(index.path, (old, old))
    assert (await filled(world, tmp_path)).standing(world.letters()[0])["state"] == "discarded"
