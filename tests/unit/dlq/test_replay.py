"""A replay over Kafka in memory: every letter sent, none twice, whatever happens on the way."""

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence

import pytest

from dlq_tools.lease import JobLease
from dlq_tools.ledger_records import CLAIM, Claim, JobState, Letter, State, grouped
from dlq_tools.plan import Stays
from dlq_tools.surroundings import Surroundings
from schemas import headers as h
from tests.dlq_world import LLM, DlqWorld, dead_letter
from workers.core.clock import ManualClock
from workers.core.errors import UsageError
from workers.core.records import Outgoing, TopicPartition


@pytest.fixture
def world() -> DlqWorld:
    return DlqWorld()


async def test_every_letter_is_sent_once_and_is_on_record(world: DlqWorld) -> None:
    world.add(*(dead_letter(number) for number in range(1200)))
    around = await world.around()
    replay, state = await world.run(around, await world.begin(around))
    assert state is JobState.SENT
    assert replay.progress.sent == 1200
    assert sorted(world.sent()) == sorted(f"m-{number}" for number in range(1200))
    again = await world.around()
    assert again.ledger.state.count("job") == {State.REPLAYED: 1200}
    assert not again.ledger.state.claims
    assert not again.ledger.state.leases


async def test_a_second_replay_selects_nothing(world: DlqWorld) -> None:
    world.add(*(dead_letter(number) for number in range(10)))
    around = await world.around()
    await world.run(around, await world.begin(around))
    replay, _ = await world.run(around, await world.begin(around, "later"))
    assert replay.progress.sent == 0
    more, _ = await world.run(around, await world.begin(around, "again", again=True))
    assert more.progress.sent == 10


async def test_what_arrives_after_the_job_began_is_not_its_own(world: DlqWorld) -> None:
    world.add(dead_letter(1))
    around = await world.around()
    job = await world.begin(around)
    world.add(dead_letter(2))
    await world.run(around, job)
    assert world.sent() == ["m-1"]


async def test_two_operators_at_once_send_every_letter_once(world: DlqWorld) -> None:
    world.add(*(dead_letter(number) for number in range(3000)))
    ana, ben = await world.around("ana"), await world.around("ben")
    jobs = await world.begin(ana, "a"), await world.begin(ben, "b")
    runs = await asyncio.gather(world.run(ana, jobs[0]), world.run(ben, jobs[1]))
    assert len(world.sent()) == 3000
    assert len(set(world.sent())) == 3000
    assert sum(replay.progress.sent for replay, _ in runs) == 3000


class Meddling:
    """An admin client that lets somebody else work while it is asked: between a plan and its claim."""

    def __init__(self, around: Surroundings, meanwhile: Callable[[], Awaitable[object]]) -> None:
        self._admin = around.admin
        self._meanwhile: Callable[[], Awaitable[object]] | None = meanwhile

    async def end_offsets(self, topics: Sequence[str]) -> Mapping[TopicPartition, tuple[int, int]]:
        meanwhile, self._meanwhile = self._meanwhile, None
        if meanwhile is not None:
            await meanwhile()
        return await self._admin.end_offsets(topics)


async def test_a_letter_that_was_sent_while_ours_was_planned_is_left_alone(world: DlqWorld) -> None:
    world.add(*(dead_letter(number) for number in range(5)))
    ana, ben = await world.around("ana"), await world.around("ben")
    jobs = await world.begin(ana, "a"), await world.begin(ben, "b")
    meddling = Meddling(ben, lambda: world.run(ana, jobs[0]))
    stale = Surroundings(ben.ledger, ben.publisher, meddling, ben.open_reader, ben.clock)  # type: ignore[arg-type]
    replay, _ = await world.run(stale, jobs[1])
    assert replay.progress.kept[Stays.TAKEN] == 5
    assert len(world.sent()) == 5


async def test_a_letter_that_was_claimed_while_ours_was_planned_is_left_to_the_claim(world: DlqWorld) -> None:
    world.add(*(dead_letter(number) for number in range(5)))
    ana, ben = await world.around("ana"), await world.around("ben")
    job = await world.begin(ben, "b")
    theirs = Claim(job="a", token="t", at=1, letters=grouped(world.letters()[:3]))
    meddling = Meddling(ben, lambda: ana.ledger.write([(f"{CLAIM}a/t-1", theirs)]))
    stale = Surroundings(ben.ledger, ben.publisher, meddling, ben.open_reader, ben.clock)  # type: ignore[arg-type]
    replay, _ = await world.run(stale, job)
    assert (replay.progress.sent, replay.progress.kept[Stays.TAKEN]) == (2, 3)
    assert all(ben.ledger.state.state(letter) is State.PLANNED for letter in world.letters()[:3])


async def test_the_same_job_is_not_run_twice_at_once(world: DlqWorld) -> None:
    world.add(dead_letter(1))
    ana, ben = await world.around("ana"), await world.around("ben")
    job = await world.begin(ana)
    await world.run(ana, job, died=False)
    await JobLease(ana.ledger, "job", ana.clock, lambda _: False).take()
    await ben.ledger.refresh()
    with pytest.raises(UsageError, match="is worked on by process"):
        await world.run(ben, job, died=False)


async def test_a_letter_that_was_replayed_too_often_is_parked(world: DlqWorld) -> None:
    world.add(dead_letter(1, relay__replay__count="3"), dead_letter(2))
    around = await world.around()
    replay, _ = await world.run(around, await world.begin(around))
    assert world.sent() == ["m-2"]
    assert replay.progress.kept[Stays.TOO_OFTEN] == 1
    again = await world.around()
    assert again.ledger.state.count("job") == {State.PARKED: 1, State.REPLAYED: 1}
    rerun, _ = await world.run(again, await world.begin(again, "again", again=True))
    assert world.sent().count("m-1") == 0
    assert rerun.progress.sent == 1


async def test_no_more_are_sent_than_asked_for_over_all_runs_of_the_job(world: DlqWorld) -> None:
    world.add(*(dead_letter(number) for number in range(20)))
    around = await world.around()
    job = await world.begin(around, most=7)
    await world.run(around, job)
    await world.run(around, job)
    assert len(world.sent()) == 7


async def test_a_signal_ends_the_run_after_its_batch(world: DlqWorld) -> None:
    world.add(*(dead_letter(number) for number in range(2000)))
    around, stop = await world.around(), asyncio.Event()
    job = await world.begin(around, rate=100_000.0)
    deliver = around.publisher.deliver

    def stopping(records: Sequence[Outgoing]) -> object:
        if records[0].topic == LLM:
            stop.set()
        return deliver(records)

    around.publisher.deliver = stopping  # type: ignore[assignment, method-assign]
    replay, state = await world.run(around, job, stop)
    assert state is JobState.PAUSED
    assert 0 < replay.progress.sent < 2000
    assert len(world.sent()) == replay.progress.sent
    assert not (await world.around()).ledger.state.claims


async def test_the_rate_is_kept(world: DlqWorld) -> None:
    world.add(*(dead_letter(number) for number in range(30)))
    around, clock = await world.around(), ManualClock()
    slept: list[float] = []

    async def sleep(seconds: float) -> None:
        slept.append(seconds)
        clock.advance(seconds)

    paced = Surroundings(around.ledger, around.publisher, around.admin, around.open_reader, clock, sleep)
    await world.run(paced, await world.begin(around, rate=20.0))
    assert len(slept) > 1
    assert sum(slept) == pytest.approx(30 / 20)
    assert len(world.sent()) == 30


async def test_a_cancelled_job_sends_nothing_more(world: DlqWorld) -> None:
    world.add(*(dead_letter(number) for number in range(5)))
    around = await world.around()
    job = await world.begin(around)
    await around.ledger.write_and_read("job/job", job.model_copy(update={"state": JobState.CANCELLED}))
    replay, state = await world.run(around, job)
    assert (state, replay.progress.sent) == (JobState.CANCELLED, 0)


async def test_what_goes_out_is_the_message_and_no_word_of_its_failure(world: DlqWorld) -> None:
    [letter] = world.add(dead_letter(1, relay__attempt="5", traceparent=f"00-{'1' * 32}-{'2' * 16}-00"))
    around = await world.around()
    await world.run(around, await world.begin(around))
    [record] = world.broker.records(LLM)
    assert (record.key, record.value) == (letter.key, letter.value)
    assert {name: (value or b"").decode() for name, value in record.headers} == {
        "app": "shop",
        "relay.message-id": "m-1",
        "relay.source": "web",
        "relay.origin.topic": "model_requests.llm",
        "relay.origin.partition": "0",
        "relay.origin.offset": "1",
        "relay.target": "llm",
        "relay.replay.id": f"job/{Letter(*letter[:3])}",
        "relay.replay.count": "1",
        "relay.replay.by": "ana@shop",
        "relay.replay.link": f"00-{'1' * 32}-{'2' * 16}-00",
        "traceparent": f"00-{'ab' * 16}-{'ab' * 8}-00",
    }
    assert h.get(record.headers, h.ERROR_CLASS) is None
