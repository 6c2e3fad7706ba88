"""Who may decide about a letter: whoever claimed it first, be it to send, to park or to discard it."""

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import replace
from itertools import count

import pytest

from dlq_tools.claims import DISCARDING
from dlq_tools.discard import Discarded, discard
from dlq_tools.ledger_records import CLAIM, Claim, Spec, State, grouped
from dlq_tools.plan import Stays
from dlq_tools.surroundings import Surroundings
from tests.dlq_world import DLQ, LLM, DlqWorld, Everything, dead_letter
from workers.core.errors import UsageError
from workers.core.records import Outgoing

SPEC = Spec(topics=(DLQ,))


@pytest.fixture
def world() -> DlqWorld:
    world = DlqWorld()
    world.add(*(dead_letter(number) for number in range(5)))
    return world


class Meddling:
    """A publisher that lets somebody else work first, once: when it is handed a record that `when` holds for."""

    def __init__(
        self,
        around: Surroundings,
        meanwhile: Callable[[], Awaitable[object]],
        when: Callable[[Outgoing], bool],
    ) -> None:
        self._publisher = around.publisher
        self._meanwhile: Callable[[], Awaitable[object]] | None = meanwhile
        self._when = when

    async def deliver(self, records: Sequence[Outgoing]) -> None:
        meanwhile = self._meanwhile
        if meanwhile is not None and records and self._when(records[0]):
            self._meanwhile = None
            await meanwhile()
        await self._publisher.deliver(records)


def meddled(
    around: Surroundings, meanwhile: Callable[[], Awaitable[object]], when: Callable[[Outgoing], bool]
) -> Surroundings:
    """The same, with somebody else at work between a claim and what follows it, or before it."""
    publisher = Meddling(around, meanwhile, when)
    around.ledger._publisher = publisher  # type: ignore[assignment]
    return replace(around, publisher=publisher)  # type: ignore[arg-type]


def sends(record: Outgoing) -> bool:
    return record.topic == LLM


def claims(record: Outgoing) -> bool:
    return (record.key or b"").startswith(CLAIM.encode())


def marks(record: Outgoing) -> bool:
    return b'"discarded"' in (record.value or b"")


async def discarded(world: DlqWorld, around: Surroundings) -> Discarded:
    found, _ = await discard(around, Everything(world.broker), SPEC, "no use", send=True)
    return found


async def states(world: DlqWorld) -> list[State]:
    """What somebody reads in the ledger who looks at it now."""
    state = (await world.around()).ledger.state
    return [state.state(letter) for letter in world.letters()]


async def test_a_discard_marks_letters_and_leaves_no_claim(world: DlqWorld) -> None:
    around = await world.around()
    assert (await discarded(world, around)).selected == 5
    assert await states(world) == [State.DISCARDED] * 5
    later = (await world.around()).ledger.state
    row = later.row(world.letters()[0])
    assert row is not None
    assert (row.who, row.why) == ("ana@shop", "no use")
    assert not later.claims
    assert [event.count for event in later.audits.values()] == [5]


async def test_a_discard_that_lands_after_a_replays_claim_leaves_the_letters_to_it(world: DlqWorld) -> None:
    ana, ben = await world.around("ana"), await world.around("ben")
    job = await world.begin(ana)
    found: list[Discarded] = []

    async def meanwhile() -> None:
        found.append(await discarded(world, ben))

    replay, _ = await world.run(meddled(ana, meanwhile, sends), job)
    assert (found[0].selected, found[0].left_out) == (0, {State.PLANNED: 5})
    assert replay.progress.sent == 5
    assert await states(world) == [State.REPLAYED] * 5


async def test_a_discard_that_lands_after_the_whole_replay_leaves_what_was_sent(world: DlqWorld) -> None:
    ana, ben = await world.around("ana"), await world.around("ben")
    job = await world.begin(ben, "b")
    found = await discarded(world, meddled(ana, lambda: world.run(ben, job), claims))
    assert (found.selected, found.left_out) == (0, {State.REPLAYED: 5})
    assert await states(world) == [State.REPLAYED] * 5


async def test_a_replay_that_lands_after_a_discards_claim_sends_nothing(world: DlqWorld) -> None:
    ana, ben = await world.around("ana"), await world.around("ben")
    job = await world.begin(ben, "b")
    found = await discarded(world, meddled(ana, lambda: world.run(ben, job), marks))
    assert found.selected == 5
    assert world.sent() == []
    assert await states(world) == [State.DISCARDED] * 5


async def test_a_replay_whose_letters_were_discarded_while_it_planned_sends_nothing(world: DlqWorld) -> None:
    ana, ben = await world.around("ana"), await world.around("ben")
    job = await world.begin(ana)
    replay, _ = await world.run(meddled(ana, lambda: discarded(world, ben), claims), job)
    assert replay.progress.kept[Stays.TAKEN] == 5
    assert await states(world) == [State.DISCARDED] * 5


async def test_nobody_parks_what_somebody_else_has_claimed(world: DlqWorld) -> None:
    world.add(dead_letter(9, relay__replay__count="3"))
    ana, ben = await world.around("ana"), await world.around("ben")
    jobs = await world.begin(ana, "a", max_replays=5), await world.begin(ben, "b", max_replays=3)
    await world.run(meddled(ana, lambda: world.run(ben, jobs[1]), sends), jobs[0])
    assert world.sent().count("m-9") == 1
    assert await states(world) == [State.REPLAYED] * 6


@pytest.mark.parametrize(("age_ms", "sent"), [(3_600_000, 5), (10_000, 0)], ids=["left", "at work"])
async def test_what_somebody_claimed_who_died_while_discarding_is_free_again_after_a_minute(
    world: DlqWorld, age_ms: int, sent: int
) -> None:
    around = await world.around()
    job, at = f"{DISCARDING}t", around.ledger.now_ms - age_ms
    left = Claim(job=job, token="t", at=at, letters=grouped(world.letters()))
    await around.ledger.write_and_read(f"{CLAIM}{job}/t-0", left)
    found = await discarded(world, around)
    assert (found.selected, found.left_out[State.PLANNED]) == (sent, 5 - sent)


async def test_a_discard_that_was_held_up_for_too_long_marks_nothing(world: DlqWorld) -> None:
    around = await world.around()

    seconds = count(0.0, 3600.0)

    class Slow:
        wall = staticmethod(around.clock.wall)
        monotonic = staticmethod(lambda: next(seconds))

    with pytest.raises(UsageError, match="discard them again"):
        await discarded(world, replace(around, clock=Slow()))
    assert State.DISCARDED not in await states(world)
