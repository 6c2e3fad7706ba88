"""A topology brought to a real cluster."""

from typing import Any

from tests.support import consume, produce, unique
from tests.unit.topology.support import topology
from workers.core.topology.difference import Configure, Create, Grow, apply, difference
from workers.core.topology.model import Topology
from workers.core.topology.topics import wanted_topics
from workers.kafka.admin import KafkaAdmin


def deployment(name: str, **defaults: Any) -> Topology:
    others = ("model_responses", "model_chunks", "dead_letter_ledger", "fleet_logs")
    names = {other: {"name": f"{name}-{other}"} for other in others}
    return topology(topics={"defaults": defaults, "model_requests": {"name": name}, **names})


async def test_what_is_applied_is_there_and_a_later_change_keeps_the_records(kafka: str) -> None:
    name = unique("topology")
    admin = KafkaAdmin({"bootstrap.servers": kafka})
    first = wanted_topics(deployment(name, partitions=1, retention="5d"))
    names = [topic.name for topic in first]

    created = difference(first, await admin.topics())
    await apply(created.actions, admin)
    assert {type(action) for action in created.actions} == {Create}
    assert not difference(first, await admin.topics(names)).differs
    produce(kafka, name, [b"kept"])

    larger = wanted_topics(deployment(name, partitions=2, retention="6d"))
    changed = difference(larger, await admin.topics(names))
    await apply(changed.actions, admin)
    assert {type(action) for action in changed.actions} == {Grow, Configure}
    assert not difference(larger, await admin.topics(names)).differs

    smaller = difference(first, await admin.topics(names))
    await apply(smaller.actions, admin)
    assert {refusal.name for refusal in smaller.refusals} >= {name, f"{name}.llm", f"{name}-model_responses"}
    assert (await admin.topics([name]))[name].config["retention.ms"] == str(6 * 86_400_000)
    assert [message.value() for message in consume(kafka, name, 1)] == [b"kept"]
    await admin.close()
