"""What many tests need: waiting for a condition, and a plain Kafka client that shares no code with ours."""

import asyncio
import inspect
import uuid
from collections.abc import Callable, Coroutine, Iterable, Mapping, Sequence
from typing import Any, NoReturn, TypeVar, overload

import pytest
from confluent_kafka import Consumer, Message, Producer, TopicPartition
from confluent_kafka.admin import AdminClient
from confluent_kafka.cimpl import NewTopic

from workers.core.deadlines import Deadline
from workers.core.settings import Settings

T = TypeVar("T")


@overload
async def eventually(
    condition: Callable[[], Coroutine[Any, Any, T]], timeout: float = ..., interval: float = ...
) -> T: ...


@overload
async def eventually(condition: Callable[[], T], timeout: float = ..., interval: float = ...) -> T: ...


async def eventually(
    condition: Callable[[], Any],
    timeout: float = 30.0,
    interval: float = 0.02,
) -> Any:
    """Call `condition` (plain or async) until what it returns is true, and return that.

    An `AssertionError` from the condition counts as "not yet". Raises `AssertionError` after `timeout` seconds, with
    the last value or failed assertion; the condition is looked at once more when they are over, however they passed.
    """
    deadline = Deadline.after(timeout)
    while True:
        over = deadline.expired
        last: object
        try:
            value = condition()
            result = await value if inspect.isawaitable(value) else value
            if result:
                return result
            last = result
        except AssertionError as error:
            last = error
        if over:
            name = getattr(condition, "__qualname__", repr(condition))
            raise AssertionError(f"{name} did not come true within {timeout} s; last: {last!r}")
        await asyncio.sleep(interval)


def unavailable(reason: str) -> NoReturn:
    """What a test needs is not there: a failure where CI runs, and a reason to skip on somebody's laptop."""
    if Settings.read().ci:
        pytest.fail(reason)
    pytest.skip(reason)


def unique(name: str) -> str:
    """A name for a topic, group or id that no other test has."""
    return f"{name}-{uuid.uuid4().hex[:12]}"


def create_topic(
    bootstrap: str, topic: str, partitions: int = 1, config: Mapping[str, str] | None = None
) -> str:
    """Create a topic with one replica, wait until the broker shows it, and return its name."""
    admin = AdminClient({"bootstrap.servers": bootstrap})
    wanted = NewTopic(topic, partitions, 1, config=dict(config or {}))
    admin.create_topics([wanted], operation_timeout=30)[topic].result(timeout=40)
    await_partitions(admin, topic, partitions)
    return topic


def await_partitions(admin: AdminClient, topic: str, partitions: int) -> None:
    """Wait until the broker shows a topic with so many partitions, a moment after its controller has made them.

    Asked all the time: the call itself takes as long as the broker's answer.
    """
    deadline = Deadline.after(30)
    while True:
        over = deadline.expired
        known = admin.list_topics(timeout=30).topics.get(topic)
        if known is not None and known.error is None and len(known.partitions) == partitions:
            return
        assert not over, f"{topic} is not there with {partitions} partitions: {known}"


def produce(
    bootstrap: str,
    topic: str,
    values: Iterable[bytes | None],
    *,
    key: bytes | None = None,
    headers: Sequence[tuple[str, bytes]] = (),
    partition: int = -1,
) -> None:
    """Write records and wait until every one is acknowledged; raises `AssertionError` if one is not."""
    failures: list[str] = []
    producer = Producer({"bootstrap.servers": bootstrap, "acks": "all", "message.max.bytes": 67_108_864})
    for value in values:
        producer.produce(
            topic,
            value,
            key,
            partition,
            on_delivery=lambda error, _: failures.append(str(error)) if error else None,
            headers=list(headers),
        )
        producer.poll(0)
    assert producer.flush(60) == 0, f"records for {topic} were not delivered"
    assert not failures, failures


def consume(bootstrap: str, topic: str, count: int, timeout: float = 60.0) -> list[Message]:
    """Read `count` records from the beginning of all partitions of `topic`, in no group.

    Raises `AssertionError` when they have not come within `timeout` seconds.
    """
    found: list[Message] = []
    deadline = Deadline.after(timeout)
    consumer = reading(bootstrap, topic)
    try:
        while len(found) < count and not deadline.expired:
            found.extend(consumer.consume(count - len(found), timeout=min(0.5, deadline.remaining())))
    finally:
        consumer.close()
    errors = [str(message.error()) for message in found if message.error() is not None]
    assert not errors, errors
    assert len(found) >= count, f"{len(found)} of {count} records came from {topic} within {timeout} s"
    return found


def reading(bootstrap: str, *topics: str) -> Consumer:
    """A plain consumer at the beginning of all partitions of these topics, in no group."""
    consumer = Consumer(
        {"bootstrap.servers": bootstrap, "group.id": unique("test"), "enable.auto.commit": False}
    )
    places: list[TopicPartition] = []
    for topic in topics:
        numbers = consumer.list_topics(topic, timeout=30).topics[topic].partitions
        places += [TopicPartition(topic, number, 0) for number in numbers]
    consumer.assign(places)
    return consumer
