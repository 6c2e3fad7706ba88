"""The adapters against a broker that answers with errors: librdkafka's mock cluster."""

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import suppress

import pytest
from confluent_kafka import KafkaError

from tests.kafka_worlds import KafkaWorld, RecordingListener
from tests.mock_cluster import (
    CONSUMER_GROUP_HEARTBEAT,
    LIST_OFFSETS,
    OFFSET_COMMIT,
    OFFSET_FETCH,
    PRODUCE,
    MockCluster,
    mock_cluster,
)
from tests.support import eventually
from workers.core.deadlines import Deadline
from workers.core.errors import FatalError, PermanentError, UnreachableError
from workers.core.metrics import DELIVERY_FAILURES, EVENTS_DROPPED
from workers.core.records import Outgoing, Position, TopicPartition
from workers.kafka.admin import KafkaAdmin
from workers.kafka.consumer import KafkaSubscription
from workers.kafka.membership import SubscriptionPolicy
from workers.kafka.producer import PublisherPolicy

TOPIC = "topic"
PLACE = TopicPartition(TOPIC, 0)
RECORD = Outgoing(TOPIC, b"k", b"v")


@pytest.fixture
def cluster() -> Iterator[MockCluster]:
    """A mock cluster with one topic of one partition."""
    with mock_cluster() as mock:
        mock.create_topic(TOPIC, 1)
        yield mock


@pytest.fixture
async def world(cluster: MockCluster) -> AsyncIterator[KafkaWorld]:
    """The adapters on the mock cluster."""
    opened = KafkaWorld(cluster.bootstrap)
    yield opened
    await opened.close()


async def joined(
    world: KafkaWorld, listener: RecordingListener, policy: SubscriptionPolicy | None = None
) -> KafkaSubscription:
    policy = policy or SubscriptionPolicy(protocol="consumer")
    subscription = world.subscription("group", [TOPIC], policy)
    await subscription.start(listener)
    await eventually(lambda: listener.owned, timeout=60)
    return subscription


def commits(world: KafkaWorld, result: str) -> float:
    labels = {"group": "group", "result": result}
    return world.metrics.registry.get_sample_value("relayfleet_commits_total", labels) or 0.0


async def test_a_produce_error_that_passes_is_waited_out(cluster: MockCluster, world: KafkaWorld) -> None:
    cluster.fail(PRODUCE, [KafkaError.NOT_ENOUGH_REPLICAS, KafkaError.NOT_LEADER_FOR_PARTITION])
    await world.publisher().deliver([RECORD] * 3)
    listener = RecordingListener()
    await joined(world, listener)
    await eventually(lambda: len(listener.received) == 3)


async def test_a_broker_that_went_away_loses_nothing_and_fails_nobody(
    cluster: MockCluster, world: KafkaWorld
) -> None:
    publisher, listener = world.publisher(), RecordingListener()
    await joined(world, listener)
    await publisher.deliver([RECORD])
    cluster.down()
    waiting = [
        asyncio.ensure_future(publisher.deliver([Outgoing(TOPIC, None, b"%d" % number)]))
        for number in range(200)
    ]
    done, _ = await asyncio.wait(waiting, timeout=1)
    assert not done
    cluster.up()
    await asyncio.wait_for(asyncio.gather(*waiting), 60)
    await eventually(lambda: len(listener.received) == 201, timeout=60)
    assert listener.values()[1:] == [b"%d" % number for number in range(200)]
    assert listener.failures == []


async def test_a_refused_record_alone_is_its_own_failure(cluster: MockCluster, world: KafkaWorld) -> None:
    publisher = world.publisher()
    cluster.fail(PRODUCE, [KafkaError.MSG_SIZE_TOO_LARGE])
    with pytest.raises(PermanentError, match="too_large"):
        await publisher.deliver([RECORD])
    await publisher.deliver([RECORD])
    failures = world.metrics.registry.get_sample_value(DELIVERY_FAILURES.name, {"topic": TOPIC})
    assert failures == 1


async def test_a_refusal_within_a_list_is_fatal_for_nobody_knows_which(
    cluster: MockCluster, world: KafkaWorld
) -> None:
    cluster.fail(PRODUCE, [KafkaError.MSG_SIZE_TOO_LARGE])
    with pytest.raises(FatalError, match="topology"):
        await world.publisher().deliver([RECORD, RECORD])


async def test_a_delivery_that_fails_for_good_is_fatal(cluster: MockCluster, world: KafkaWorld) -> None:
    cluster.fail(PRODUCE, [KafkaError.TOPIC_AUTHORIZATION_FAILED])
    with pytest.raises(FatalError, match="right to write"):
        await world.publisher().deliver([RECORD])


async def test_with_a_delivery_timeout_waiting_ends(cluster: MockCluster, world: KafkaWorld) -> None:
    publisher = world.publisher(policy=PublisherPolicy(delivery_timeout=2))

    async def delivers() -> bool:
        """Its first record has to find the broker within that time, too."""
        with suppress(FatalError):
            await publisher.deliver([RECORD])
            return True
        return False

    await eventually(delivers)
    cluster.down()
    with pytest.raises(FatalError, match="not delivered"):
        await publisher.deliver([RECORD])


async def test_closing_at_its_deadline_counts_what_is_left_and_tells_who_waits(
    cluster: MockCluster, world: KafkaWorld
) -> None:
    publisher = world.publisher()
    await publisher.deliver([RECORD])
    cluster.down()
    waiting = publisher.deliver([RECORD] * 7)
    assert await publisher.close(Deadline.after(0.3)) == 7
    with pytest.raises(FatalError, match="closed"):
        await waiting
    with pytest.raises(FatalError, match="closed"):
        await publisher.deliver([RECORD])


async def test_a_full_queue_makes_callers_wait_and_keeps_their_order(world: KafkaWorld) -> None:
    publisher = world.publisher(policy=PublisherPolicy(queue_records=10))
    calls = [
        publisher.deliver([Outgoing(TOPIC, None, b"%d.%d" % (call, item)) for item in range(30)])
        for call in range(20)
    ]
    await asyncio.wait_for(asyncio.gather(*calls), 60)
    listener = RecordingListener()
    await joined(world, listener)
    await eventually(lambda: len(listener.received) == 600)
    assert listener.values() == [b"%d.%d" % (call, item) for call in range(20) for item in range(30)]


async def test_posts_that_find_no_room_are_counted_and_block_nobody(
    cluster: MockCluster, world: KafkaWorld
) -> None:
    publisher = world.publisher()
    cluster.down()
    for _ in range(60_000):
        publisher.post(RECORD)
    publisher.post(Outgoing(TOPIC, None, b"x", (("\ud800", b""),)))
    await publisher.close(Deadline.after(0.2))
    dropped = world.metrics.registry.get_sample_value(EVENTS_DROPPED.name)
    # The client counts an error or two of its own among what is left in its queue.
    assert dropped == pytest.approx(60_001, abs=10)


async def test_what_is_no_record_fails_its_caller_alone(world: KafkaWorld) -> None:
    publisher = world.publisher()
    with pytest.raises(PermanentError, match="not text"):
        await publisher.deliver([Outgoing(TOPIC, None, b"x", (("\ud800", b""),))])
    with pytest.raises(PermanentError, match="not a record"):
        await publisher.deliver([Outgoing(TOPIC, None, b"x", (("a", [1]),))])  # type: ignore[arg-type]
    await publisher.deliver([RECORD])


async def test_a_commit_error_that_passes_is_waited_out(cluster: MockCluster, world: KafkaWorld) -> None:
    await world.publisher().deliver([RECORD] * 5)
    subscription = await joined(world, RecordingListener())
    cluster.fail(OFFSET_COMMIT, [KafkaError.COORDINATOR_LOAD_IN_PROGRESS, KafkaError.NOT_COORDINATOR])
    await subscription.commit({PLACE: Position(3, "meta")})
    assert commits(world, "ok") == 1


async def test_a_commit_of_a_lost_generation_is_dropped(cluster: MockCluster, world: KafkaWorld) -> None:
    subscription = await joined(world, RecordingListener())
    cluster.fail(OFFSET_COMMIT, [KafkaError.ILLEGAL_GENERATION])
    await subscription.commit({PLACE: Position(3)})
    assert (commits(world, "ok"), commits(world, "dropped")) == (0, 1)


async def test_a_commit_that_nobody_takes_says_so(cluster: MockCluster, world: KafkaWorld) -> None:
    policy = SubscriptionPolicy(protocol="consumer", commit_timeout=0.3)
    subscription = await joined(world, RecordingListener(), policy)
    cluster.fail(OFFSET_COMMIT, [KafkaError.COORDINATOR_LOAD_IN_PROGRESS] * 50)
    with pytest.raises(UnreachableError, match="group"):
        await subscription.commit({PLACE: Position(3)})


async def test_metadata_too_long_for_the_broker_is_left_out(cluster: MockCluster, world: KafkaWorld) -> None:
    subscription = await joined(world, RecordingListener())
    cluster.fail(OFFSET_COMMIT, [KafkaError.OFFSET_METADATA_TOO_LARGE])
    await subscription.commit({PLACE: Position(3, "m" * 9000)})
    assert commits(world, "ok") == 1


async def test_committed_positions_are_asked_for_until_the_broker_answers(
    cluster: MockCluster, world: KafkaWorld
) -> None:
    cluster.fail(OFFSET_FETCH, [KafkaError.COORDINATOR_LOAD_IN_PROGRESS] * 3)
    await world.publisher().deliver([RECORD])
    listener = RecordingListener()
    await joined(world, listener)
    await eventually(lambda: len(listener.received) == 1)


async def test_a_broker_without_the_new_protocol_is_joined_with_the_old_one(
    cluster: MockCluster, world: KafkaWorld
) -> None:
    cluster.forget_api(CONSUMER_GROUP_HEARTBEAT)
    await world.publisher().deliver([RECORD])
    listener = RecordingListener()
    await joined(world, listener, SubscriptionPolicy(session_timeout=30))
    await eventually(lambda: len(listener.received) == 1)


async def test_a_refused_group_ends_the_subscription_aloud(cluster: MockCluster, world: KafkaWorld) -> None:
    cluster.fail(CONSUMER_GROUP_HEARTBEAT, [KafkaError.GROUP_AUTHORIZATION_FAILED] * 5)
    listener = RecordingListener()
    await world.subscription("group", [TOPIC], SubscriptionPolicy(protocol="consumer")).start(listener)
    await eventually(lambda: listener.failures)
    assert isinstance(listener.failures[0], FatalError)


async def test_a_header_name_that_is_not_utf_8_stops_nobody(cluster: MockCluster, world: KafkaWorld) -> None:
    cluster.produce_raw_header(TOPIC, b"bad\xff\xfe", b"value of the record")
    await world.publisher().deliver([RECORD])
    listener = RecordingListener()
    await joined(world, listener)
    await eventually(lambda: len(listener.received) == 2)
    assert listener.values() == [b"value of the record", b"v"]
    assert listener.received[0].headers == ()


@pytest.mark.parametrize("error", [KafkaError.NOT_LEADER_FOR_PARTITION, KafkaError.LEADER_NOT_AVAILABLE])
async def test_offsets_of_a_partition_whose_leader_moves_are_asked_for_again(
    cluster: MockCluster, world: KafkaWorld, error: int
) -> None:
    await world.publisher().deliver([RECORD] * 3)
    admin = KafkaAdmin({"bootstrap.servers": cluster.bootstrap})
    cluster.fail(LIST_OFFSETS, [error] * 2)
    assert await admin.end_offsets([TOPIC]) == {PLACE: (0, 3)}
    await admin.close()
