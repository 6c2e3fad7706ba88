"""The adapters on a real broker: what the fake can't show."""

import asyncio
import time
from collections.abc import AsyncIterator, Mapping, Sequence
from functools import partial
from itertools import count

import pytest
from confluent_kafka import Producer

from tests.kafka_worlds import KafkaWorld, RecordingListener
from tests.support import eventually, unique
from workers.core.deadlines import Deadline
from workers.core.records import Outgoing, Position, Received, TopicPartition
from workers.kafka.consumer import KafkaSubscription
from workers.kafka.membership import SubscriptionPolicy


@pytest.fixture
async def world(kafka: str) -> AsyncIterator[KafkaWorld]:
    """The adapters on the session's broker."""
    opened = KafkaWorld(kafka)
    yield opened
    await opened.close()


async def fill(world: KafkaWorld, topic: str, count: int, partitions: int) -> None:
    """Number the records of each partition."""
    publisher = world.publisher()
    lists = [
        [Outgoing(topic, None, b"%d" % (start + item), partition=partition) for item in range(500)]
        for start in range(0, count // partitions, 500)
        for partition in range(partitions)
    ]
    await asyncio.gather(*(publisher.deliver(records) for records in lists))


class Flood(RecordingListener):
    """Pauses partitions in turn and lets them go on a moment later, as a worker whose window is full."""

    async def ebb(self, world: KafkaWorld, group: str, topic: str, expected: int) -> None:
        subscription = world.subscription(group, [topic])
        await subscription.start(self)
        for turn in count():
            place = TopicPartition(topic, turn % 4)
            subscription.pause([place])
            await asyncio.sleep(0.002)
            subscription.resume([place])
            if len(self.received) >= expected:
                return


async def test_a_hundred_thousand_records_come_once_and_in_order_through_any_pauses(
    world: KafkaWorld,
) -> None:
    topic, listener = world.topic(partitions=4), Flood()
    await fill(world, topic, 100_000, 4)
    await asyncio.wait_for(listener.ebb(world, unique("group"), topic, 100_000), 200)
    for partition in range(4):
        assert listener.values(partition) == [b"%d" % value for value in range(25_000)]


ENOUGH = 2000  # of the 3,000 that may be ahead: what the loop had taken meanwhile is off the bound


class Stuck(RecordingListener):
    """Blocks the event loop until the poll thread has filled what it may fill, and longer than a member may be silent."""

    def watch(self, world: KafkaWorld, group: str, topic: str, policy: SubscriptionPolicy) -> None:
        self.subscription = world.subscription(group, [topic], policy)
        self.policy = policy
        self.ahead = 0

    def records(self, batch: Sequence[Received]) -> None:
        super().records(batch)
        if not self.ahead:
            until, at_last = Deadline.after(self.policy.max_poll_interval + 1), Deadline.after(60)
            while not until.expired or (self.subscription.ahead < ENOUGH and not at_last.expired):
                time.sleep(0.01)
            self.ahead = self.subscription.ahead


async def test_polling_goes_on_while_the_loop_is_stuck_and_does_not_run_ahead(world: KafkaWorld) -> None:
    topic, listener, group = world.topic(partitions=2), Stuck(), unique("group")
    # Longer than the poll thread itself may be held up.
    policy = SubscriptionPolicy(max_poll_interval=4, max_ahead=3000)
    await fill(world, topic, 40_000, 2)
    listener.watch(world, group, topic, policy)
    await listener.subscription.start(listener)
    await eventually(lambda: len(listener.received) == 40_000, timeout=60)
    assert ENOUGH <= listener.ahead < 3600
    assert listener.losses == listener.revocations
    for partition in range(2):
        assert listener.values(partition) == [b"%d" % value for value in range(20_000)]


class Slow(RecordingListener):
    """Takes its time to let partitions go."""

    def __init__(self) -> None:
        super().__init__()
        self.asked = asyncio.Event()
        self.may_go = asyncio.Event()

    async def revoked(self, partitions: Sequence[TopicPartition]) -> Mapping[TopicPartition, Position]:
        self.asked.set()
        await self.may_go.wait()
        return await super().revoked(partitions)


async def test_nobody_gets_a_partition_before_its_owner_let_it_go(world: KafkaWorld) -> None:
    topic, group = world.topic(partitions=2), unique("group")
    first, second = Slow(), RecordingListener()
    first.positions = {TopicPartition(topic, number): Position(5) for number in range(2)}
    await fill(world, topic, 2000, 2)
    await world.subscription(group, [topic]).start(first)
    await eventually(lambda: len(first.received) == 2000)
    await world.subscription(group, [topic]).start(second)
    await asyncio.wait_for(first.asked.wait(), 60)
    assert second.owned == {}
    first.may_go.set()
    await eventually(lambda: len(second.owned) == 1, timeout=60)
    assert list(second.owned.values()) == [Position(5)]
    assert first.trespassers == []


async def test_a_listener_that_never_lets_go_is_not_waited_for_and_commits_nothing(world: KafkaWorld) -> None:
    topic, group = world.topic(partitions=2), unique("group")
    first, second = Slow(), RecordingListener()
    policy = SubscriptionPolicy(revoke_timeout=0.2)
    await world.subscription(group, [topic], policy).start(first)
    await eventually(lambda: len(first.owned) == 2, timeout=60)
    await world.subscription(group, [topic]).start(second)
    await eventually(lambda: len(second.owned) == 1, timeout=60)
    assert await world.admin().committed(group) == {}


async def test_members_that_come_and_go_lose_no_record(world: KafkaWorld) -> None:
    topic, group = world.topic(partitions=4), unique("group")
    seen = [steady := Counting()]
    await world.subscription(group, [topic]).start(steady)

    def all_came(total: int) -> bool:
        return len({place for listener in seen for place in listener.places}) == total

    for turn in (1, 2):
        seen.append(guest := Counting())
        subscription = world.subscription(group, [topic])
        await subscription.start(guest)
        await fill(world, topic, 8000, 4)
        await eventually(partial(getattr, guest, "owned"), timeout=60)
        await subscription.commit(guest.finished)
        await subscription.close(Deadline.after(30))
        await eventually(partial(all_came, 8000 * turn), timeout=60)
    assert all(not listener.trespassers and not listener.failures for listener in seen)


class Counting(RecordingListener):
    """Finishes everything at once, so that the group's positions are what was received."""

    @property
    def finished(self) -> dict[TopicPartition, Position]:
        return {
            place: Position(
                1 + max(record.offset for record in self.received if record.partition == place.partition)
            )
            for place in self.owned
            if any(record.partition == place.partition for record in self.received)
        }

    @property
    def places(self) -> set[tuple[int, int]]:
        return {(record.partition, record.offset) for record in self.received}

    async def revoked(self, partitions: Sequence[TopicPartition]) -> Mapping[TopicPartition, Position]:
        self.positions = self.finished
        return await super().revoked(partitions)


async def test_a_listener_that_raises_ends_the_subscription_aloud(world: KafkaWorld) -> None:
    class Broken(RecordingListener):
        def records(self, batch: Sequence[Received]) -> None:
            raise RuntimeError("a defect")

    topic, listener = world.topic(), Broken()
    await fill(world, topic, 500, 1)
    await world.subscription(unique("group"), [topic]).start(listener)
    await eventually(lambda: [str(error) for error in listener.failures] == ["a defect"], timeout=60)


async def test_a_static_member_comes_back_to_its_partitions_without_a_rebalance(world: KafkaWorld) -> None:
    topic, group = world.topic(partitions=2), unique("group")
    policies = [SubscriptionPolicy(instance_id=f"worker-{number}") for number in range(2)]
    listeners = [RecordingListener(), RecordingListener()]
    members = [world.subscription(group, [topic], policy) for policy in policies]
    for member, listener in zip(members, listeners, strict=True):
        await member.start(listener)
    await eventually(lambda: all(len(listener.owned) == 1 for listener in listeners), timeout=60)
    before, again = dict(listeners[1].owned), RecordingListener()
    revocations = len(listeners[0].revocations)
    await members[1].close(Deadline.after(30))
    await world.subscription(group, [topic], policies[1]).start(again)
    await eventually(lambda: again.owned, timeout=60)
    assert again.owned == before
    assert len(listeners[0].revocations) == revocations


async def test_the_old_protocol_keeps_the_same_promises(world: KafkaWorld) -> None:
    topic, group = world.topic(partitions=2), unique("group")
    policy = SubscriptionPolicy(protocol="classic", session_timeout=9)
    first, second = RecordingListener(), RecordingListener()
    first.positions = {TopicPartition(topic, number): Position(600, "m") for number in range(2)}
    await fill(world, topic, 2000, 2)
    await world.subscription(group, [topic], policy).start(first)
    await eventually(lambda: len(first.received) == 2000, timeout=60)
    await world.subscription(group, [topic], policy).start(second)
    await eventually(lambda: len(second.received) == 400, timeout=60)
    assert list(second.owned.values()) == [Position(600, "m")]
    assert first.trespassers == second.trespassers == []


async def test_the_marks_of_transactions_are_no_lag(world: KafkaWorld) -> None:
    """Whoever restarts where nothing moves though there is lag would restart for ever."""
    topic, group, listener = world.topic(), unique("group"), RecordingListener()
    place = TopicPartition(topic, 0)
    lasting = {"transactional.id": unique("transaction"), "transaction.timeout.ms": 600_000}
    producer = Producer({"bootstrap.servers": world.bootstrap, **lasting})
    await asyncio.to_thread(producer.init_transactions, 60)
    for finish in (producer.commit_transaction, producer.abort_transaction):
        producer.begin_transaction()
        producer.produce(topic, b"value")
        await asyncio.to_thread(producer.flush, 60)
        await asyncio.to_thread(finish, 60)
    producer.begin_transaction()  # and one that stays open
    producer.produce(topic, b"value")
    await asyncio.to_thread(producer.flush, 60)
    for _ in range(2):  # from the beginning, and from the position of the last record
        subscription = world.subscription(group, [topic])
        await subscription.start(listener)
        await eventually(lambda: place in listener.owned and listener.received, timeout=60)
        await eventually(partial(_has_no_lag, subscription, place))
        await asyncio.sleep(0.5)
        assert (await subscription.lag())[place] == 0
        await subscription.commit({place: Position(listener.received[-1].offset + 1)})
        await subscription.close(Deadline.after(30))
        listener.owned.clear()
    assert listener.values() == [b"value"]
    await asyncio.to_thread(producer.abort_transaction, 60)


async def _has_no_lag(subscription: KafkaSubscription, place: TopicPartition) -> bool:
    return (await subscription.lag()).get(place) == 0


async def test_a_transaction_that_goes_on_ends_what_can_be_read(world: KafkaWorld) -> None:
    topic, listener = world.topic(partitions=1), RecordingListener()
    place = TopicPartition(topic, 0)
    await world.publisher().deliver([Outgoing(topic, None, b"before")])
    subscription = world.subscription(unique("group"), [topic])
    await subscription.start(listener)
    producer = Producer({"bootstrap.servers": world.bootstrap, "transactional.id": unique("transaction")})
    await asyncio.to_thread(producer.init_transactions, 60)
    producer.begin_transaction()
    producer.produce(topic, b"in it")
    await asyncio.to_thread(producer.flush, 60)
    await eventually(lambda: subscription.positions() == {place: 1}, timeout=60)
    assert await world.admin().readable_ends([place]) == {place: 1}
    await asyncio.to_thread(producer.abort_transaction, 60)
    # The record that was taken back and the transaction's mark: behind them is the end, though nothing came.
    await eventually(lambda: subscription.positions() == {place: 3}, timeout=60)
    assert await world.admin().readable_ends([place]) == {place: 3}
    assert listener.values() == [b"before"]
