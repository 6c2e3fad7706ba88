"""The router's place in its group: what it holds, what it commits, and what happens when partitions come and go."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from tests.support import eventually
from workers.core.deadlines import Deadline
from workers.core.errors import FatalError
from workers.core.ports import TopicState
from workers.core.records import Outgoing, Position, Received, TopicPartition
from workers.kafka.memory import MemoryBroker, MemorySubscription
from workers.router import reading as module
from workers.router.ledger import Ledger
from workers.router.progress import Standing
from workers.router.reading import Batch, Reading

TOPIC = "requests"
FIRST, SECOND = TopicPartition(TOPIC, 0), TopicPartition(TOPIC, 1)


def record(place: TopicPartition, offset: int) -> Received:
    return Received(place.topic, place.partition, offset, None, b"", (), 0)


class World:
    """A reading on a broker in memory, with the group at hand."""

    def __init__(self, partitions: int = 2, revoke_seconds: float = 10.0) -> None:
        self.broker = MemoryBroker()
        self.broker.create(TopicState(TOPIC, partitions, 1, {}))
        self.subscription = self.member()
        self.failures: list[BaseException] = []
        self.reading = Reading(self.subscription, self.failures.append, revoke_seconds)

    def member(self) -> MemorySubscription:
        return self.broker.subscription("group", [TOPIC])

    @property
    def committed(self) -> dict[TopicPartition, int]:
        return {place: at.offset for place, at in self.broker.group("group").committed.items()}

    async def join(self) -> None:
        await self.reading.start()
        await eventually(lambda: self.reading.joined)

    async def fill(self, place: TopicPartition, count: int) -> None:
        records = [Outgoing(place.topic, None, b"", partition=place.partition) for _ in range(count)]
        await self.broker.publisher().deliver(records)

    @asynccontextmanager
    async def committing(self) -> AsyncIterator[None]:
        task = asyncio.create_task(self.reading.keep_committing())
        yield
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


async def test_only_what_is_finished_without_a_gap_before_it_is_committed() -> None:
    world = World(partitions=1)
    await world.join()
    async with world.committing():
        await world.fill(FIRST, 3)
        first = await world.reading.next()
        await world.fill(FIRST, 4)
        second = await world.reading.next()
        world.reading.finished(second)
        await asyncio.sleep(0.02)
        assert world.committed == {}
        world.reading.finished(first)
        await eventually(lambda: world.committed == {FIRST: 7})


async def test_a_commit_that_kafka_does_not_take_is_tried_again() -> None:
    world = World(partitions=1)
    await world.join()
    await world.fill(FIRST, 1)
    world.reading.finished(await world.reading.next())
    world.broker.unreachable = True
    async with world.committing():
        await asyncio.sleep(0.02)
        world.broker.unreachable = False
        await eventually(lambda: world.committed == {FIRST: 1})


async def test_a_commit_that_is_refused_for_good_is_raised() -> None:
    world = World(partitions=1)
    await world.join()
    await world.fill(FIRST, 1)
    world.reading.finished(await world.reading.next())
    world.broker.fail_commits(error=FatalError("refused"))
    with pytest.raises(FatalError, match="refused"):
        await world.reading.keep_committing()


async def test_no_more_is_fetched_than_a_router_may_hold_and_all_of_it_comes(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(module, "RECORDS_WAITING", 1_000)
    world = World()
    await world.join()
    await world.fill(FIRST, 5_000)
    await world.fill(SECOND, 5_000)
    await eventually(lambda: world.subscription.paused == {FIRST, SECOND})
    held = sum(len(batch.records) for batch in world.reading._waiting)
    assert held <= 2_000
    taken: list[Received] = []
    while len(taken) < 10_000:
        batch = await world.reading.next()
        taken += batch.records
        world.reading.finished(batch)
    for place in (FIRST, SECOND):
        assert [each.offset for each in taken if each.partition == place.partition] == list(range(5_000))


async def test_what_a_revocation_drops_makes_room(monkeypatch: pytest.MonkeyPatch) -> None:
    """Else nothing would ever be fetched again: only what is taken says that there is room."""
    monkeypatch.setattr(module, "RECORDS_WAITING", 100)
    world = World()
    await world.join()
    await world.fill(FIRST, 200)
    await eventually(lambda: world.subscription.paused == {FIRST, SECOND})
    await world.subscription.revoke([FIRST])
    assert world.subscription.paused == set()
    await world.fill(SECOND, 1)
    assert [each.partition for each in (await world.reading.next()).records] == [1]


async def test_a_revocation_waits_for_what_is_under_way_and_drops_what_is_not() -> None:
    world = World()
    await world.join()
    await world.fill(FIRST, 2)
    under_way = await world.reading.next()
    await world.fill(FIRST, 3)
    await eventually(lambda: len(world.reading._waiting) == 1)
    revoking = asyncio.create_task(world.subscription.revoke([FIRST]))
    await asyncio.sleep(0.02)
    assert not revoking.done()
    world.reading.finished(under_way)
    await revoking
    assert world.committed == {FIRST: 2}
    assert not world.reading._waiting


async def test_a_batch_of_two_partitions_keeps_what_stays() -> None:
    world = World()
    await world.join()
    world.reading.records([record(FIRST, 0), record(SECOND, 0), record(FIRST, 1)])
    await world.subscription.revoke([FIRST])
    batch = await world.reading.next()
    assert [(each.partition, each.offset) for each in batch.records] == [(1, 0)]
    world.reading.finished(batch)
    await world.reading.drain()
    assert world.committed == {SECOND: 1}


async def test_a_revocation_ends_at_its_time_and_commits_what_is_finished() -> None:
    world = World(revoke_seconds=0.02)
    await world.join()
    await world.fill(FIRST, 1)
    world.reading.finished(await world.reading.next())
    await world.fill(FIRST, 1)
    late = await world.reading.next()
    await world.subscription.revoke([FIRST])
    assert world.committed == {FIRST: 1}
    world.subscription.assign([FIRST])
    world.reading.finished(late)
    assert not any(ledger.moved for ledger in world.reading._ledgers.values())


async def test_a_commit_under_way_says_nothing_of_the_next_assignment(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    world = World(partitions=1)
    await world.join()
    answered, offered = asyncio.Event(), []

    async def commit(positions: dict[TopicPartition, Position]) -> None:
        offered.append(positions)
        await answered.wait()  # and is dropped: of an assignment that is over

    monkeypatch.setattr(world.subscription, "commit", commit)
    async with world.committing():
        await world.fill(FIRST, 1)
        world.reading.finished(await world.reading.next())
        await eventually(lambda: len(offered) == 1)
        world.subscription.lose([FIRST])
        world.subscription.assign([FIRST])
        answered.set()
        world.reading.finished(await world.reading.next())
        await eventually(lambda: len(offered) == 2)
    assert offered[0] == offered[1] == {FIRST: Position(1)}


async def test_what_was_lost_is_neither_routed_nor_committed() -> None:
    world = World()
    await world.join()
    await world.fill(FIRST, 1)
    under_way = await world.reading.next()
    await world.fill(FIRST, 1)
    await eventually(lambda: len(world.reading._waiting) == 1)
    world.subscription.lose([FIRST])
    world.reading.finished(under_way)
    await world.reading.drain()
    assert not world.reading._waiting
    assert world.committed == {}


async def test_a_drain_waits_for_what_is_under_way_commits_it_and_takes_nothing_more() -> None:
    world = World()
    await world.join()
    await world.fill(FIRST, 2)
    under_way = await world.reading.next()
    draining = asyncio.create_task(world.reading.drain())
    await asyncio.sleep(0.02)
    await world.fill(SECOND, 2)
    assert not draining.done()
    world.reading.finished(under_way)
    await draining
    assert world.committed == {FIRST: 2}
    assert not world.reading._waiting


async def test_two_members_share_and_repeat_nothing_that_was_finished() -> None:
    world = World()
    await world.join()
    async with world.committing():
        await world.fill(FIRST, 10)
        await world.fill(SECOND, 10)
        seen = 0
        while seen < 20:
            batch = await world.reading.next()
            seen += len(batch.records)
            world.reading.finished(batch)
        other_subscription = world.member()
        other = Reading(other_subscription, world.failures.append)
        await other.start()
        await eventually(
            lambda: other.joined and len(other.partitions) == 1 and len(world.reading.partitions) == 1
        )
        await world.fill(SECOND, 1)
        await world.fill(FIRST, 1)
        theirs = await other.next()
        ours = await world.reading.next()
        assert [each.offset for each in (*theirs.records, *ours.records)] == [10, 10]
        await other_subscription.close(Deadline.after(1))
    assert not world.failures


async def test_a_partition_stands_where_it_is_committed_or_as_far_as_it_was_read_where_nothing_is_left_of_that() -> (
    None
):
    world = World()
    world.broker.group("group").committed[FIRST] = Position(4)
    await world.fill(FIRST, 6)
    await world.join()
    batch = await world.reading.next()
    assert world.reading.standings({FIRST: 6, SECOND: 0}) == {FIRST: Standing(4, 6), SECOND: Standing(0, 0)}
    world.reading.finished(batch)
    assert world.reading.standings({FIRST: 6}) == {FIRST: Standing(4, 6)}
    await world.reading.drain()
    assert world.reading.standings({FIRST: 6}) == {FIRST: Standing(6, 6)}
    assert world.reading.standings({FIRST: 9}) == {FIRST: Standing(6, 9)}


async def test_what_has_its_turn_after_others_waits_as_long_as_these_are_finished() -> None:
    world = World()
    await world.join()
    await world.fill(FIRST, 1)
    first = await world.reading.next()
    await world.fill(SECOND, 1)
    await eventually(lambda: len(world.reading._waiting) == 1)
    ends = {FIRST: 1, SECOND: 1}
    assert world.reading.standings(ends)[SECOND] == Standing(None, 1)
    world.reading.finished(first)
    assert world.reading.standings(ends) == {FIRST: Standing(None, 1), SECOND: Standing(None, 1, waits=True)}
    assert world.reading.standings(ends)[SECOND] == Standing(None, 1)


async def test_a_batch_is_never_larger_than_what_is_planned_in_one_go() -> None:
    world = World(partitions=1)
    await world.join()
    world.reading.records([record(FIRST, offset) for offset in range(1_201)])
    assert [len((await world.reading.next()).records) for _ in range(3)] == [500, 500, 201]


async def test_large_messages_fill_a_router_sooner(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "BYTES_WAITING", 1_000)
    world = World(partitions=1)
    await world.join()
    await world.broker.publisher().deliver([Outgoing(TOPIC, None, b"x" * 1_000)])
    await eventually(lambda: world.subscription.paused == {FIRST})
    await world.reading.next()
    assert world.subscription.paused == set()


async def test_a_failure_of_the_subscription_is_passed_on() -> None:
    world = World()
    await world.join()
    error = FatalError("the group is gone")
    world.subscription.fail(error)
    assert world.failures == [error]


def test_a_batch_knows_its_partitions() -> None:
    ledgers = {FIRST: Ledger(), SECOND: Ledger()}
    batch = Batch([record(FIRST, 7), record(FIRST, 9), record(SECOND, 0)], ledgers)
    assert set(batch.partitions) == {FIRST, SECOND}
    batch.finish()
    assert {place: ledger.committable for place, ledger in ledgers.items()} == {FIRST: 10, SECOND: 1}
