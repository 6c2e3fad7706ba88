"""What a real broker tells about a group's members, with the protocol that workers join with."""

import uuid
from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager

import pytest
from confluent_kafka import Consumer
from confluent_kafka.admin import AdminClient

from benchmarks.load.backlog import PARTITIONS, create
from benchmarks.load.members import shares, until_shared_out
from workers.core.errors import UnreachableError
from workers.kafka.membership import SubscriptionPolicy, member_config


@contextmanager
def _member(kafka: str, group: str, topic: str) -> Iterator[Consumer]:
    config = {"bootstrap.servers": kafka, "log_level": 3}
    with closing(Consumer(member_config(config, group, SubscriptionPolicy(), "consumer"))) as consumer:
        consumer.subscribe([topic])
        yield consumer


def test_a_group_says_when_each_of_its_members_has_partitions(kafka: str) -> None:
    topic = group = f"members-{uuid.uuid4().hex}"
    create(kafka, [topic])
    admin = AdminClient({"bootstrap.servers": kafka, "log_level": 5})
    joined: list[Consumer] = []

    def look() -> dict[str, list[int]]:
        for consumer in joined:
            consumer.poll(0)  # what it has to give up it gives up here
        return {name: list(numbers) for name, numbers in shares(admin, group, topic).items()}

    with ExitStack() as stack:
        joined.append(stack.enter_context(_member(kafka, group, topic)))
        alone = until_shared_out(look, 1, PARTITIONS, within=60)
        assert list(alone.values()) == [[0, 1, 2, 3]]
        with pytest.raises(UnreachableError):
            until_shared_out(look, 2, PARTITIONS, within=1.0)
        joined.append(stack.enter_context(_member(kafka, group, topic)))
        both = until_shared_out(look, 2, PARTITIONS, within=60)
        assert sorted(len(numbers) for numbers in both.values()) == [2, 2]
