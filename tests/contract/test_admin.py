"""The port `Admin`."""

import re

import pytest

from tests.kafka_worlds import MemoryWorld, World
from tests.support import eventually, unique
from workers.core.errors import UnreachableError, UsageError
from workers.core.ports import Admin, TopicState
from workers.core.records import Outgoing, TopicPartition
from workers.kafka.admin import KafkaAdmin


async def test_a_created_topic_is_as_it_was_wished(world: World) -> None:
    admin, wanted = world.admin(), TopicState(unique("topic"), 3, 1, {"retention.ms": "3600000"})
    assert await admin.topics([wanted.name]) == {}
    await admin.create([wanted])
    assert await admin.topics([wanted.name]) == {wanted.name: wanted}
    assert (await admin.topics())[wanted.name] == wanted


async def test_a_topic_that_is_asked_for_twice_is_told_once(world: World) -> None:
    admin, wanted = world.admin(), TopicState(unique("topic"), 1, 1, {})
    await admin.create([wanted])
    assert await admin.topics([wanted.name, wanted.name]) == {wanted.name: wanted}


async def test_a_topic_grows_and_keeps_its_settings(world: World) -> None:
    admin, name = world.admin(), unique("topic")
    await admin.create([TopicState(name, 1, 1, {"retention.ms": "3600000"})])
    await admin.grow(name, 4)
    await admin.configure(name, {"max.message.bytes": "2000000"})
    settings = {"retention.ms": "3600000", "max.message.bytes": "2000000"}
    assert await admin.topics([name]) == {name: TopicState(name, 4, 1, settings)}


async def test_what_kafka_refuses_is_the_users_error(world: World) -> None:
    admin, name = world.admin(), unique("topic")
    await admin.create([TopicState(name, 2, 1, {})])
    with pytest.raises(UsageError, match="exists"):
        await admin.create([TopicState(name, 2, 1, {})])
    with pytest.raises(UsageError):
        await admin.grow(name, 1)
    with pytest.raises(UsageError):
        await admin.grow(unique("missing"), 2)
    with pytest.raises(UsageError):
        await admin.configure(unique("missing"), {"retention.ms": "1"})
    with pytest.raises(UsageError, match="topology apply"):
        await admin.end_offsets([unique("missing")])


async def test_end_offsets_are_those_of_every_partition(world: World) -> None:
    topic = world.topic(partitions=2)
    await world.publisher().deliver([Outgoing(topic, None, b"x", partition=1)] * 3)
    assert await world.admin().end_offsets([topic]) == {
        TopicPartition(topic, 0): (0, 0),
        TopicPartition(topic, 1): (0, 3),
    }
    assert await world.admin().readable_ends([TopicPartition(topic, 1)]) == {TopicPartition(topic, 1): 3}
    assert await world.admin().readable_ends([]) == {}


async def test_records_are_found_by_their_time(world: World) -> None:
    topic, admin = world.topic(partitions=2), world.admin()
    for time in (1000, 3000, 2000):
        await world.publisher().deliver([Outgoing(topic, None, b"x", partition=1, timestamp_ms=time)])
    empty, filled = TopicPartition(topic, 0), TopicPartition(topic, 1)
    assert await admin.offsets_at([topic], 0) == {empty: None, filled: (0, 1000)}
    assert await admin.offsets_at([topic], 1500) == {empty: None, filled: (1, 3000)}
    assert await admin.offsets_at([topic], 4000) == {empty: None, filled: None}
    assert await admin.offsets_at([topic], None) == {empty: None, filled: (1, 3000)}
    with pytest.raises(UsageError):
        await admin.offsets_at([unique("missing")], 0)


async def test_a_topic_keeps_its_id(world: World) -> None:
    topic, other, admin = world.topic(partitions=1), world.topic(partitions=1), world.admin()
    ids = await admin.topic_ids([topic, other, unique("missing")])
    assert ids.keys() == {topic, other}
    assert ids[topic] != ids[other]
    assert await admin.topic_ids([topic]) == {topic: ids[topic]}
    assert await admin.topic_ids([unique("missing")]) == {}


async def test_records_below_an_offset_are_deleted(world: World) -> None:
    topic, admin = world.topic(partitions=2), world.admin()
    await world.publisher().deliver([Outgoing(topic, None, b"x", partition=1)] * 3)
    await admin.delete_before({TopicPartition(topic, 1): 2})
    assert await admin.end_offsets([topic]) == {
        TopicPartition(topic, 0): (0, 0),
        TopicPartition(topic, 1): (2, 3),
    }
    with pytest.raises(UsageError):
        await admin.delete_before({TopicPartition(topic, 1): 9})


async def test_an_unknown_group_stands_nowhere(world: World) -> None:
    assert await world.admin().committed(unique("group")) == {}


async def test_the_cluster_says_who_it_is(world: World) -> None:
    cluster = await world.admin().cluster()
    assert cluster.cluster_id
    assert all(":" in broker for broker in cluster.brokers)


@pytest.fixture(params=["memory", "kafka"])
def nobody(request: pytest.FixtureRequest) -> Admin:
    """An admin client of a Kafka that does not answer."""
    if request.param == "kafka":
        return KafkaAdmin({"bootstrap.servers": "127.0.0.1:9"}, timeout=1.0)
    gone = MemoryWorld()
    gone.broker.unreachable = True
    return gone.admin()


async def test_nobody_answering_is_said_within_seconds(nobody: Admin) -> None:
    with pytest.raises(UnreachableError):
        await nobody.cluster()


async def test_the_error_names_the_address_and_what_to_try() -> None:
    admin = KafkaAdmin({"bootstrap.servers": "127.0.0.1:9"}, timeout=1.0)

    async def says_why() -> bool:
        """It knows once its client has tried."""
        with pytest.raises(UnreachableError) as error:
            await admin.topics()
        return re.search(r"127\.0\.0\.1:9 .*refused.*check the address", str(error.value)) is not None

    await eventually(says_why)
