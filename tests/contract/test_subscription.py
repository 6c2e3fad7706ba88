"""The port `Subscription`."""

from collections.abc import Mapping, Sequence

from tests.kafka_worlds import RecordingListener, World
from tests.support import eventually, unique
from workers.core.deadlines import Deadline
from workers.core.ports import Subscription
from workers.core.records import Outgoing, Position, TopicPartition


async def fill(world: World, topic: str, partition: int, values: range) -> None:
    """Write `values` as text."""
    records = [Outgoing(topic, None, b"%d" % value, partition=partition) for value in values]
    await world.publisher().deliver(records)


async def joined(
    world: World, group: str, topic: str, listener: RecordingListener, partitions: int
) -> Subscription:
    """A member that has its partitions."""
    subscription = world.subscription(group, [topic])
    await subscription.start(listener)
    await eventually(lambda: len(listener.owned) == partitions, timeout=60)
    return subscription


async def joined_and_left(world: World, group: str, topic: str, listener: RecordingListener) -> None:
    """Let another member take one of two partitions, and give it back."""
    other = RecordingListener()
    subscription = await joined(world, group, topic, other, 1)
    await eventually(lambda: len(listener.owned) == 1, timeout=60)
    await subscription.close(Deadline.after(30))
    await eventually(lambda: len(listener.owned) == 2, timeout=60)


async def test_records_come_in_order_with_all_they_have(world: World) -> None:
    topic, listener = world.topic(), RecordingListener()
    headers = (("a", b"1"), ("a", b"2"), ("null", None))
    await world.publisher().deliver([Outgoing(topic, b"k", b"v", headers, timestamp_ms=1_700_000_000_000)])
    await fill(world, topic, 0, range(1, 1200))
    await joined(world, unique("group"), topic, listener, 1)
    await eventually(lambda: len(listener.received) == 1200)
    first = listener.received[0]
    assert (first.key, first.value, first.headers) == (b"k", b"v", headers)
    assert first.timestamp_ms == 1_700_000_000_000
    assert [record.offset for record in listener.received] == list(range(1200))
    assert listener.values()[1:] == [b"%d" % value for value in range(1, 1200)]


async def test_a_group_that_never_committed_starts_at_the_beginning(world: World) -> None:
    topic, listener = world.topic(), RecordingListener()
    await joined(world, unique("group"), topic, listener, 1)
    assert listener.owned == {TopicPartition(topic, 0): None}


async def test_a_new_member_starts_where_the_group_stands_and_learns_its_metadata(world: World) -> None:
    topic, group = world.topic(), unique("group")
    place = TopicPartition(topic, 0)
    await fill(world, topic, 0, range(10))
    first = await joined(world, group, topic, RecordingListener(), 1)
    await first.commit({place: Position(4, "v1:äöü")})
    await first.close(Deadline.after(30))
    listener = RecordingListener()
    await joined(world, group, topic, listener, 1)
    assert listener.owned == {place: Position(4, "v1:äöü")}
    await eventually(lambda: listener.values() == [b"%d" % value for value in range(4, 10)])


async def test_a_paused_partition_waits_and_goes_on_exactly_there(world: World) -> None:
    topic, listener = world.topic(partitions=2), RecordingListener()
    paused = TopicPartition(topic, 0)
    subscription = await joined(world, unique("group"), topic, listener, 2)
    await fill(world, topic, 0, range(100))
    await eventually(lambda: len(listener.values(0)) == 100)
    subscription.pause([paused])
    await fill(world, topic, 0, range(100, 3000))
    await fill(world, topic, 1, range(50))
    await eventually(lambda: len(listener.values(1)) == 50)
    assert len(listener.values(0)) == 100
    subscription.resume([paused])
    await eventually(lambda: len(listener.values(0)) == 3000)
    assert listener.values(0) == [b"%d" % value for value in range(3000)]


async def test_a_listener_that_pauses_at_every_record_gets_each_once(world: World) -> None:
    topic, listener = world.topic(), RecordingListener()
    await fill(world, topic, 0, range(2500))
    place = TopicPartition(topic, 0)
    subscription = await joined(world, unique("group"), topic, listener, 1)

    def step() -> bool:
        subscription.pause([place])
        subscription.resume([place])
        subscription.pause([place])
        subscription.resume([place])
        return len(listener.received) >= 2500

    await eventually(step, interval=0.001)
    assert [record.offset for record in listener.received] == list(range(2500))


async def test_a_second_member_takes_over_where_the_first_one_said(world: World) -> None:
    topic, group = world.topic(partitions=2), unique("group")
    for partition in range(2):
        await fill(world, topic, partition, range(10))
    first, second = RecordingListener(), RecordingListener()
    first.positions = {TopicPartition(topic, number): Position(6, f"from-{number}") for number in range(2)}
    await joined(world, group, topic, first, 2)
    await eventually(lambda: len(first.received) == 20)
    await joined(world, group, topic, second, 1)
    await eventually(lambda: len(first.owned) == 1)
    (moved,) = second.owned
    assert first.revocations == [[moved]]
    assert second.owned == {moved: Position(6, f"from-{moved.partition}")}
    await eventually(lambda: second.values() == [b"6", b"7", b"8", b"9"])
    await fill(world, topic, moved.partition, range(10, 400))
    await eventually(lambda: len(second.received) == 394)
    assert first.trespassers == second.trespassers == []
    assert len(first.received) == 20


async def test_commits_for_partitions_of_others_are_dropped(world: World) -> None:
    topic, group = world.topic(partitions=2), unique("group")
    subscription = await joined(world, group, topic, RecordingListener(), 2)
    await joined(world, group, topic, other := RecordingListener(), 1)
    (moved,) = other.owned
    kept = TopicPartition(topic, 1 - moved.partition)
    await subscription.commit(
        {moved: Position(99), kept: Position(7), TopicPartition("never", 3): Position(1)}
    )
    assert await world.admin().committed(group) == {kept: Position(7)}


async def test_lag_counts_what_the_listener_has_not_got(world: World) -> None:
    topic, listener = world.topic(), RecordingListener()
    place = TopicPartition(topic, 0)
    await fill(world, topic, 0, range(30))
    subscription = await joined(world, unique("group"), topic, listener, 1)
    await eventually(lambda: len(listener.received) == 30)

    async def lag_is(count: int) -> bool:
        return await subscription.lag() == {place: count}

    await eventually(lambda: lag_is(0))
    subscription.pause([place])
    await fill(world, topic, 0, range(20))
    await eventually(lambda: lag_is(20))
    subscription.resume([place])
    await eventually(lambda: lag_is(0))


async def test_a_partition_that_goes_and_comes_back_is_not_paused_and_one_that_stays_can_be_resumed(
    world: World,
) -> None:
    """So many records that the client itself pauses, which keeps some pauses over a rebalance."""
    topic, group, listener = world.topic(partitions=2), unique("group"), RecordingListener()
    places = [TopicPartition(topic, 0), TopicPartition(topic, 1)]
    subscription = await joined(world, group, topic, listener, 2)
    subscription.pause(places)
    for place in places:
        await fill(world, topic, place.partition, range(5000))
    await joined_and_left(world, group, topic, listener)
    (back,) = [place for place in places if listener.assignments[place] == 2]
    (kept,) = [place for place in places if place != back]
    await eventually(lambda: len(listener.values(back.partition)) >= 5000, timeout=60)
    subscription.resume([kept])
    await eventually(lambda: len(listener.values(kept.partition)) == 5000, timeout=60)


class Late(RecordingListener):
    """Pauses a partition while it goes, as one does that is full meanwhile."""

    subscription: Subscription

    async def revoked(self, partitions: Sequence[TopicPartition]) -> Mapping[TopicPartition, Position]:
        """See `Listener`."""
        self.subscription.pause(partitions)
        return await super().revoked(partitions)


async def test_a_pause_of_a_partition_that_goes_ends_with_it(world: World) -> None:
    topic, group, listener = world.topic(partitions=2), unique("group"), Late()
    listener.subscription = await joined(world, group, topic, listener, 2)
    await joined_and_left(world, group, topic, listener)
    for partition in (0, 1):
        await fill(world, topic, partition, range(3))
    await eventually(lambda: (len(listener.values(0)), len(listener.values(1))) == (3, 3), timeout=60)


async def test_a_position_is_behind_what_the_listener_has_got(world: World) -> None:
    topic, group, listener = world.topic(partitions=2), unique("group"), RecordingListener()
    first, second = TopicPartition(topic, 0), TopicPartition(topic, 1)
    await fill(world, topic, 0, range(30))
    subscription = await joined(world, group, topic, listener, 2)
    await eventually(lambda: subscription.positions() == {first: 30, second: 0})
    assert len(listener.received) == 30
    subscription.pause([first])
    await fill(world, topic, 0, range(20))
    await fill(world, topic, 1, range(1))
    await eventually(lambda: subscription.positions() == {first: 30, second: 1})
    subscription.resume([first])
    await eventually(lambda: subscription.positions() == {first: 50, second: 1})


async def test_closing_calls_no_listener_and_gives_the_partitions_away(world: World) -> None:
    topic, group = world.topic(partitions=2), unique("group")
    first, second = RecordingListener(), RecordingListener()
    subscription = await joined(world, group, topic, first, 2)
    await subscription.close(Deadline.after(30))
    await subscription.close(Deadline.after(30))
    await joined(world, group, topic, second, 2)
    await fill(world, topic, 0, range(3))
    await eventually(lambda: len(second.received) == 3)
    assert [first.received, first.revocations, first.losses, first.failures] == [[], [], [], []]


async def test_a_closed_subscription_takes_calls_and_does_nothing(world: World) -> None:
    topic, listener = world.topic(), RecordingListener()
    place = TopicPartition(topic, 0)
    subscription = await joined(world, unique("group"), topic, listener, 1)
    await subscription.close(Deadline.after(30))
    subscription.pause([place])
    subscription.resume([place])
    await subscription.commit({place: Position(1)})
    assert await subscription.lag() == {}
