"""What became of the messages that a replay sent, and what it does about it."""

import asyncio

import pytest

from dlq_tools.claims import claim
from dlq_tools.follow import Failures, Follower, StopPolicy, causes, is_open
from dlq_tools.ledger_records import CLAIM, Entry, Job, JobState, State, by_place
from dlq_tools.replay_run import ReplayRun
from schemas.errors import ErrorClass
from tests.dlq_world import DLQ, LLM, RESPONSES, DlqWorld, Everything, dead_letter
from tests.support import eventually
from workers.core.records import Received
from workers.core.topology.names import Names
from workers.kafka.memory_reader import MemoryReader


@pytest.fixture
def world() -> DlqWorld:
    return DlqWorld()


async def _fleet(world: DlqWorld, count: int, error: ErrorClass | None = None) -> None:
    """Answer `count` replayed messages as they come."""
    done = 0
    while done < count:
        records = world.broker.records(LLM)
        for record in records[done:count]:
            world.answer(record, error)
        done = min(len(records), count)
        await asyncio.sleep(0.001)


def _on_record(world: DlqWorld, state: State) -> bool:
    ledger = world.broker.records(Names(world.topology).ledger)
    return any(state.value.encode() in (record.value or b"") for record in ledger)


async def _failed(world: DlqWorld, error: ErrorClass = ErrorClass.TIMEOUT) -> tuple[Job, Received]:
    """A job whose only letter failed again, and what it sent; the dead letter is not there yet."""
    world.add(dead_letter(1))
    around = await world.around()
    job = await world.begin(around, max_failed=1.0)
    await world.run(around, job)
    (sent,) = world.broker.records(LLM)
    world.respond(sent, error)
    await world.run(await world.around(), job)
    return job, sent


async def test_outcomes_are_followed_and_counted_once(world: DlqWorld) -> None:
    world.add(*(dead_letter(number) for number in range(40)))
    around = await world.around()
    job = await world.begin(around, max_failed=1.0)
    running = asyncio.create_task(world.run(around, job, wait=30.0))
    await eventually(lambda: len(world.sent()) == 40)
    for number, record in enumerate(world.broker.records(LLM)):
        world.answer(record, ErrorClass.TIMEOUT if number < 4 else None)
        if number > 30:
            world.answer(record)  # twice
    await running
    counts = around.ledger.state.count("job")
    assert counts == {State.ANSWERED: 36, State.FAILED_AGAIN: 4}
    failed = [row for _, row in around.ledger.state.rows("job") if row.state is State.FAILED_AGAIN]
    assert list(causes(failed).values()) == [4]
    assert all(row.next is not None and row.next.startswith(DLQ) for row in failed)


async def test_a_dead_letter_that_comes_after_its_response_is_waited_for(
    world: DlqWorld, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("dlq_tools.replay.LETTER_WITHIN", 30.0)
    world.add(dead_letter(1))
    around = await world.around()
    job = await world.begin(around, max_failed=1.0)
    running = asyncio.create_task(world.run(around, job, wait=30.0))
    await eventually(lambda: len(world.sent()) == 1)
    (sent,) = world.broker.records(LLM)
    world.respond(sent, ErrorClass.TIMEOUT)
    await eventually(lambda: _on_record(world, State.FAILED_AGAIN))
    world.bury(sent, ErrorClass.TIMEOUT)
    await running
    ((_, row),) = around.ledger.state.rows("job")
    assert (row.state, row.next) == (State.FAILED_AGAIN, world.broker.records(DLQ)[-1].position)


async def test_a_dead_letter_that_came_after_the_run_is_found_by_the_next(world: DlqWorld) -> None:
    job, sent = await _failed(world)
    world.bury(sent, ErrorClass.TIMEOUT)
    later = await world.around()
    await world.run(later, job)
    ((_, row),) = later.ledger.state.rows("job")
    assert row.next == world.broker.records(DLQ)[-1].position


@pytest.mark.parametrize("decided", [State.DISCARDED, State.ANSWERED, State.PLANNED])
async def test_what_others_decided_meanwhile_is_left_to_them(world: DlqWorld, decided: State) -> None:
    job, sent = await _failed(world)
    around, other = await world.around(), await world.around("bob")
    reader = MemoryReader(world.broker, [RESPONSES, DLQ], by_place(job.follow))
    await reader.start()
    follower = Follower(job.name, around.ledger, reader, RESPONSES, Failures(StopPolicy()))
    ((letter, row),) = around.ledger.state.rows(job.name)
    follower.expect(letter, row)
    if decided is State.PLANNED:
        await claim(other.ledger, f"{CLAIM}other/1", "other", [letter], {})
    else:
        await other.ledger.write([(str(letter), Entry(state=decided, at=1, who="bob", job="other"))])
    world.bury(sent, ErrorClass.TIMEOUT)
    await follower.catch_up()
    assert (await world.around()).ledger.state.state(letter) is decided


async def test_a_failure_without_a_dead_letter_is_looked_for_until_it_must_be_there(world: DlqWorld) -> None:
    job, _ = await _failed(world)
    around = await world.around()
    await ReplayRun(around, world.topology, Everything(world.broker)).catch_up(job)
    looked_at = (await world.around()).ledger.state.jobs[job.name].looked_at
    ((_, row),) = around.ledger.state.rows(job.name)
    assert looked_at >= row.at
    assert is_open(row, row.at + 4999)
    assert not is_open(row, row.at + 5000)


@pytest.mark.parametrize(
    ("error", "awaited"), [(ErrorClass.TIMEOUT, True), (ErrorClass.EXPIRED, False)], ids=str
)
async def test_a_dead_letter_is_awaited_where_the_failure_leaves_one(
    world: DlqWorld, error: ErrorClass, awaited: bool
) -> None:
    await _failed(world, error)
    later = await world.around()
    ((_, row),) = later.ledger.state.rows("job")
    assert row.state is State.FAILED_AGAIN
    assert is_open(row) is awaited


async def test_a_job_stops_by_itself_when_too_much_fails_again(world: DlqWorld) -> None:
    world.add(*(dead_letter(number) for number in range(5000)))
    around = await world.around()
    job = await world.begin(around)
    fleet = asyncio.create_task(_fleet(world, 5000, ErrorClass.TIMEOUT))
    replay, state = await world.run(around, job)
    fleet.cancel()
    assert state is JobState.STOPPED
    assert replay.progress.sent < 2500


async def test_the_outcome_of_a_killed_run_is_found_by_the_next(world: DlqWorld) -> None:
    world.add(*(dead_letter(number) for number in range(10)))
    around = await world.around()
    job = await world.begin(around)
    await world.run(around, job)
    for record in world.broker.records(LLM):
        world.answer(record)
    later = await world.around()
    replay, _ = await world.run(later, job, wait=0.2)
    assert replay.progress.sent == 0
    assert later.ledger.state.count("job") == {State.ANSWERED: 10}
