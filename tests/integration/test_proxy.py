"""The proxy in front of a broker does to clients what networks do."""

import threading

import pytest
from confluent_kafka import KafkaException
from confluent_kafka.admin import AdminClient

from tests.brokers import PrivateBroker
from tests.support import consume, create_topic, eventually, produce, unique


def reachable(bootstrap: str, timeout: float) -> bool:
    try:
        AdminClient({"bootstrap.servers": bootstrap, "log_level": 0}).list_topics(timeout=timeout)
    except KafkaException:
        return False
    return True


async def test_clients_that_bootstrap_from_the_proxy_stay_behind_it(restartable_kafka: PrivateBroker) -> None:
    topic = create_topic(restartable_kafka.proxied, unique("proxied"))
    produce(restartable_kafka.proxied, topic, [b"through"])
    assert [message.value() for message in consume(restartable_kafka.proxied, topic, 1)] == [b"through"]
    metadata = AdminClient({"bootstrap.servers": restartable_kafka.proxied}).list_topics(timeout=10)
    assert {f"{one.host}:{one.port}" for one in metadata.brokers.values()} == {restartable_kafka.proxied}
    await eventually(lambda: restartable_kafka.proxy.connections == 0)


def test_a_cut_or_silent_network_is_noticed_and_heals(restartable_kafka: PrivateBroker) -> None:
    restartable_kafka.proxy.cut()
    assert not reachable(restartable_kafka.proxied, 0.5)
    assert reachable(restartable_kafka.bootstrap, 10)
    restartable_kafka.proxy.heal()
    assert reachable(restartable_kafka.proxied, 10)
    restartable_kafka.proxy.blackhole()
    assert not reachable(restartable_kafka.proxied, 0.5)
    restartable_kafka.proxy.heal()
    assert reachable(restartable_kafka.proxied, 10)


@pytest.mark.parametrize("hinder", ["blackhole", "delay"])
def test_what_is_held_back_arrives(restartable_kafka: PrivateBroker, hinder: str) -> None:
    topic = create_topic(restartable_kafka.bootstrap, unique("held"))
    if hinder == "delay":
        restartable_kafka.proxy.delay(0.1)
    else:
        restartable_kafka.proxy.blackhole()
    work = threading.Thread(target=produce, args=(restartable_kafka.proxied, topic, [b"late"]))
    work.start()
    if hinder == "blackhole":
        work.join(0.3)
        assert work.is_alive()
        restartable_kafka.proxy.heal()
    work.join(30)
    assert [message.value() for message in consume(restartable_kafka.bootstrap, topic, 1)] == [b"late"]
