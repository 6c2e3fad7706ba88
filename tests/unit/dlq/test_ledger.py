"""The ledger folded, and what is settled in it."""

import pytest

from dlq_tools.discard import discard
from dlq_tools.ledger_records import (
    CLAIM,
    LEASE,
    Claim,
    Entry,
    Lease,
    Letter,
    Spec,
    State,
    Value,
    grouped,
    write_value,
)
from dlq_tools.ledger_state import LedgerState
from dlq_tools.purge import before_offset, before_time, plan_purge, purge
from tests.dlq_world import DLQ, DlqWorld, Everything, dead_letter
from workers.core.records import Received, TopicPartition

A, B = Letter("t", 0, 1), Letter("t", 0, 2)


def _folded(*records: tuple[str, Value | None]) -> LedgerState:
    state = LedgerState()
    for offset, (key, value) in enumerate(records):
        data = None if value is None else write_value(value)
        state.take(Received("ledger", 0, offset, key.encode(), data, (), 0))
    return state


def _claim(job: str, *letters: Letter) -> Claim:
    return Claim(job=job, token="t", at=1, letters=grouped(letters))


def _entry(state: State, job: str | None = None) -> Entry:
    return Entry(state=state, at=1, who="ana", job=job)


def _lease(token: str, at: int, takes: str | None = None) -> Lease:
    return Lease(token=token, host="h", pid=1, at=at, until=at + 15_000, takes=takes)


def test_the_first_claim_holds_a_letter_and_the_second_gets_the_rest() -> None:
    state = _folded((CLAIM + "a/1", _claim("a", A)), (CLAIM + "b/1", _claim("b", A, B)))
    assert state.granted(CLAIM + "a/1") == [A]
    assert state.granted(CLAIM + "b/1") == [B]
    assert state.state(A) is State.PLANNED


def test_an_entry_or_the_end_of_a_claim_frees_its_letters() -> None:
    state = _folded(
        (CLAIM + "a/1", _claim("a", A, B)), (str(A), _entry(State.REPLAYED, "a")), (CLAIM + "a/1", None)
    )
    assert (state.state(A), state.state(B)) == (State.REPLAYED, State.NEW)
    assert not state.claims


def test_a_loser_whose_winner_was_compacted_away_holds_nothing_that_was_settled() -> None:
    state = _folded((CLAIM + "b/1", _claim("b", A)), (str(A), _entry(State.REPLAYED, "a")))
    assert state.granted(CLAIM + "b/1") == []


def test_a_lease_is_the_first_takers_until_it_runs_out_or_its_holder_is_dead() -> None:
    key = LEASE + "j"
    assert _folded((key, _lease("a", 0)), (key, _lease("b", 14_000))).leases["j"].token == "a"
    assert _folded((key, _lease("a", 0)), (key, _lease("b", 16_000))).leases["j"].token == "b"
    assert _folded((key, _lease("a", 0)), (key, _lease("b", 1, takes="a"))).leases["j"].token == "b"
    renewed = _folded((key, _lease("a", 0)), (key, _lease("a", 9_000)), (key, _lease("b", 16_000)))
    assert renewed.leases["j"].token == "a"


def test_what_another_version_wrote_is_counted_and_left_alone() -> None:
    state = LedgerState()
    for value in (b'{"v": 2, "state": "gone"}', b"nonsense"):
        state.take(Received("ledger", 0, 0, b"t:0:1", value, (), 0))
    assert (state.damaged, state.state(A)) == (2, State.NEW)


@pytest.fixture
def world() -> DlqWorld:
    world = DlqWorld()
    world.broker.partitions = 1
    return world


async def test_discarded_letters_are_out_of_later_selections(world: DlqWorld) -> None:
    world.add(dead_letter(1), dead_letter(2))
    around = await world.around()
    counted, done = await discard(around, Everything(world.broker), Spec(topics=(DLQ,)), "spam", send=None)
    assert (counted.selected, done) == (2, False)
    assert not (await world.around()).ledger.state.count("job")
    _, done = await discard(around, Everything(world.broker), Spec(topics=(DLQ,)), "spam", send=True)
    assert done
    later = await world.around()
    replay, _ = await world.run(later, await world.begin(later))
    assert replay.progress.sent == 0
    assert {row.why for _, row in later.ledger.state.rows()} == {"spam"}
    assert "discard" in {event.action for event in later.ledger.state.audits.values()}


async def test_a_purge_ends_before_the_first_that_is_too_young_and_names_what_is_unsettled(
    world: DlqWorld,
) -> None:
    letters = world.add(*(dead_letter(number) for number in range(12)))
    around = await world.around()
    await around.ledger.write([(each.position, _entry(State.DISCARDED)) for each in letters])
    first = min(letters, key=lambda each: (each.partition, each.offset))
    await around.ledger.write([(first.position, _entry(State.FAILED_AGAIN))])
    plan = await plan_purge(around, DLQ, before_offset(2, first.partition))
    assert plan.offsets == {TopicPartition(DLQ, first.partition): 2}
    assert plan.states == {State.DISCARDED: 1, State.FAILED_AGAIN: 1}
    assert plan.named == [f"{first.position} (failed_again)"]
    followed = _entry(State.FAILED_AGAIN).model_copy(update={"next": f"{DLQ}:0:99"})
    await around.ledger.write([(first.position, followed)])
    whole = await plan_purge(around, DLQ, before_time(1_700_000_000_001, None))
    assert (whole.records, whole.unsettled.total()) == (12, 0)
    assert (await plan_purge(around, DLQ, before_time(1_700_000_000_000, None))).records == 0
    await purge(around, DLQ, whole)
    offsets = await around.admin.end_offsets([DLQ])
    assert all(begin == end for begin, end in offsets.values())
