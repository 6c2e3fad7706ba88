"""The port `Publisher`."""

import asyncio

import pytest

from schemas.errors import ErrorClass, Stage
from tests.kafka_worlds import World
from workers.core.deadlines import Deadline
from workers.core.errors import PermanentError
from workers.core.records import Outgoing


async def test_a_delivered_list_is_there_byte_for_byte_and_in_order(world: World) -> None:
    topic = world.topic()
    headers = (("relay.target", b"llm"), ("relay.target", b"twice"), ("null", None), ("leer", b""))
    await world.publisher().deliver(
        [
            Outgoing(topic, b"k", b"\x00\xff one", headers, timestamp_ms=1_700_000_000_123),
            Outgoing(topic, None, None),
            Outgoing(topic, b"", b""),
        ]
    )
    first, tombstone, empty = await world.records(topic, 3)
    assert (first.key, first.value, first.headers) == (b"k", b"\x00\xff one", headers)
    assert first.timestamp_ms == 1_700_000_000_123
    assert (tombstone.key, tombstone.value, tombstone.headers) == (None, None, ())
    assert (empty.key, empty.value) == (b"", b"")


async def test_calls_keep_their_order_without_waiting_for_each_other(world: World) -> None:
    topic, publisher = world.topic(), world.publisher()
    calls = [
        publisher.deliver([Outgoing(topic, b"k", b"%d.%d" % (call, item)) for item in range(3)])
        for call in range(50)
    ]
    await asyncio.gather(*calls)
    found = await world.records(topic, 150)
    assert [record.value for record in found] == [
        b"%d.%d" % (call, item) for call in range(50) for item in range(3)
    ]


async def test_a_key_stays_in_its_partition_and_a_chosen_partition_is_taken(world: World) -> None:
    topic, publisher = world.topic(partitions=4), world.publisher()
    await publisher.deliver([Outgoing(topic, b"same", b"%d" % number) for number in range(20)])
    await publisher.deliver([Outgoing(topic, b"same", b"there", partition=number) for number in range(4)])
    found = await world.records(topic, 24)
    assert len({record.partition for record in found if record.value != b"there"}) == 1
    assert sorted(record.partition for record in found if record.value == b"there") == [0, 1, 2, 3]


@pytest.mark.parametrize("partition", [2, 999_999])
async def test_a_partition_that_the_topic_does_not_have_is_no_failure_and_the_key_decides(
    world: World, partition: int
) -> None:
    topic, publisher = world.topic(partitions=2), world.publisher()
    named = [Outgoing(topic, b"same", b"%d" % number, partition=partition) for number in range(5)]
    await publisher.deliver([*named, Outgoing(topic, b"same", b"by key")])
    await publisher.deliver(named)  # now the client knows the topic, and refuses at once
    found = await world.records(topic, 11)
    assert len({record.partition for record in found}) == 1


async def test_a_record_too_large_is_refused_before_anything_of_its_list_is_sent(world: World) -> None:
    topic, publisher = world.topic(), world.publisher(max_message_bytes=10_000)
    fits, large = Outgoing(topic, None, b"fits"), Outgoing(topic, None, b"x" * 10_000)
    with pytest.raises(PermanentError) as refused:
        await publisher.deliver([fits, large])
    assert refused.value.error_class is ErrorClass.TOO_LARGE
    assert refused.value.stage is Stage.PUBLISH
    await publisher.deliver([Outgoing(topic, None, b"next")])
    assert [record.value for record in await world.records(topic, 1)] == [b"next"]


async def test_headers_count_for_the_size(world: World) -> None:
    topic, publisher = world.topic(), world.publisher(max_message_bytes=10_000)
    headers = tuple((f"header-{number}", b"x" * 900) for number in range(11))
    with pytest.raises(PermanentError, match="too_large"):
        await publisher.deliver([Outgoing(topic, None, b"small", headers)])


async def test_an_empty_list_is_delivered_at_once(world: World) -> None:
    await world.publisher().deliver([])


async def test_a_caller_that_gives_up_disturbs_nobody(world: World) -> None:
    topic, publisher = world.topic(), world.publisher()
    waiting = asyncio.ensure_future(publisher.deliver([Outgoing(topic, None, b"left")]))
    waiting.cancel()
    await publisher.deliver([Outgoing(topic, None, b"right")])
    assert b"right" in {record.value for record in await world.records(topic, 2)}


async def test_posted_records_arrive_without_anybody_waiting(world: World) -> None:
    topic, publisher = world.topic(), world.publisher()
    publisher.post(Outgoing(topic, b"id", b"event", (("a", b"b"),)))
    publisher.post(Outgoing(topic, b"id", b"another"))
    assert await publisher.close(Deadline.after(60)) == 0
    found = await world.records(topic, 2)
    assert [record.value for record in found] == [b"event", b"another"]


async def test_closing_waits_for_what_is_under_way(world: World) -> None:
    topic, publisher = world.topic(), world.publisher()
    waiting = publisher.deliver([Outgoing(topic, None, b"%d" % number) for number in range(100)])
    assert await publisher.close(Deadline.after(60)) == 0
    await waiting
    assert len(await world.records(topic, 100)) == 100
