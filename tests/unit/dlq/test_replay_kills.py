"""A replay that is killed, or can't deliver: what the next run finds, sends and marks."""

from collections.abc import Sequence

import pytest

from dlq_tools.ledger_records import CLAIM, Claim, State, by_topic, grouped
from dlq_tools.plan import Stays
from dlq_tools.surroundings import Surroundings
from tests.dlq_world import LLM, DlqWorld, dead_letter
from workers.core.errors import FatalError
from workers.core.records import Outgoing


@pytest.fixture
def world() -> DlqWorld:
    return DlqWorld()


class Killed(BaseException):
    """What a SIGKILL looks like from inside: nothing runs after it."""


class Dying:
    """A publisher that dies at its n-th call, before or after the records are written."""

    def __init__(self, around: Surroundings, calls: int, *, written: bool) -> None:
        self._publisher = around.publisher
        self._left = calls
        self._written = written

    async def deliver(self, records: Sequence[Outgoing]) -> None:
        self._left -= 1
        if self._left < 0:
            raise Killed
        if self._left == 0:
            if self._written:
                await self._publisher.deliver(records)
            raise Killed
        await self._publisher.deliver(records)


@pytest.mark.parametrize("written", [False, True], ids=["before", "after"])
@pytest.mark.parametrize("calls", range(1, 11))
async def test_a_job_killed_at_any_write_is_resumed_without_sending_anything_twice(
    world: DlqWorld, calls: int, written: bool
) -> None:
    world.add(*(dead_letter(number) for number in range(560)))
    around = await world.around()
    job = await world.begin(around)
    dying = Dying(around, calls, written=written)
    doomed = Surroundings(around.ledger, dying, around.admin, around.open_reader, around.clock)  # type: ignore[arg-type]
    around.ledger._publisher = dying  # type: ignore[assignment]
    with pytest.raises(Killed):
        await world.run(doomed, job)
    resumed = await world.around()
    await world.run(resumed, await world.begin(resumed))
    assert sorted(world.sent()) == sorted(f"m-{number}" for number in range(560))
    assert resumed.ledger.state.count("job") == {State.REPLAYED: 560}
    assert not resumed.ledger.state.claims


async def test_a_failed_delivery_ends_the_run_and_the_next_one_finishes_the_job(world: DlqWorld) -> None:
    world.add(*(dead_letter(number) for number in range(20)))
    around = await world.around()
    job = await world.begin(around)
    deliver = around.publisher.deliver

    def failing(records: Sequence[Outgoing]) -> object:
        if records[0].topic == LLM:
            world.broker.fail_deliveries()
        return deliver(records)

    around.publisher.deliver = failing  # type: ignore[assignment, method-assign]
    with pytest.raises(FatalError):
        await world.run(around, job)
    resumed = await world.around()
    await world.run(resumed, job)
    assert len(world.sent()) == 20


async def test_where_the_evidence_was_deleted_a_letter_is_sent_again_and_marked(world: DlqWorld) -> None:
    world.add(dead_letter(1))
    around = await world.around()
    job = await world.begin(around)
    ends = await around.ends([LLM])
    claim = Claim(job="job", token="gone", at=1, letters=grouped(world.letters()), marks=by_topic(ends))
    await around.ledger.write_and_read(f"{CLAIM}job/gone-1", claim)
    for place in ends:
        world.broker.append(Outgoing(place.topic, None, b"x", partition=place.partition))
    await around.admin.delete_before(dict.fromkeys(ends, 1))
    replay, _ = await world.run(around, job)
    assert replay.progress.unsure == 1
    row = around.ledger.state.row(world.letters()[0])
    assert row is not None
    assert (row.state, row.twice) == (State.REPLAYED, True)


async def test_what_may_have_been_sent_to_a_place_that_takes_it_twice_is_not_sent_again(
    world: DlqWorld,
) -> None:
    world.add(dead_letter(1))
    world.limits["elsewhere"] = 1_000_000
    world.broker.state("elsewhere")
    around = await world.around()
    job = await world.begin(around, to="elsewhere")
    ends = await around.ends(["elsewhere"])
    claim = Claim(job="job", token="gone", at=1, letters=grouped(world.letters()), marks=by_topic(ends))
    await around.ledger.write_and_read(f"{CLAIM}job/gone-1", claim)
    for place in ends:
        world.broker.append(Outgoing(place.topic, None, b"x", partition=place.partition))
    await around.admin.delete_before(dict.fromkeys(ends, 1))
    replay, _ = await world.run(around, job)
    assert replay.progress.kept[Stays.UNSURE] == 1
    assert replay.progress.sent == 0
