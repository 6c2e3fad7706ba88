"""The topology's security, and the settings of our clients, as librdkafka gets them."""

import pytest
from confluent_kafka import Producer
from pydantic import SecretStr

from workers.core.errors import UsageError
from workers.core.metrics import Metrics
from workers.core.topology.model import Kafka, Security
from workers.kafka.admin import KafkaAdmin
from workers.kafka.membership import SubscriptionPolicy, member_config
from workers.kafka.producer import KafkaPublisher, PublisherPolicy
from workers.kafka.security import client_config

SASL = Kafka(
    bootstrap="kafka:9093",
    security=Security(
        protocol="SASL_PLAINTEXT", mechanism="SCRAM-SHA-512", username="fleet", password=SecretStr("hush")
    ),
)


def test_credentials_are_rendered() -> None:
    rendered = client_config(SASL)
    assert rendered["bootstrap.servers"] == "kafka:9093"
    assert rendered["security.protocol"] == "SASL_PLAINTEXT"
    assert rendered["sasl.mechanism"] == "SCRAM-SHA-512"
    assert (rendered["sasl.username"], rendered["sasl.password"]) == ("fleet", "hush")


def test_what_is_not_set_is_not_rendered() -> None:
    rendered = client_config(Kafka(bootstrap="kafka:9092"))
    assert not [key for key in rendered if key.startswith(("sasl", "ssl"))]
    assert None not in rendered.values()


def test_librdkafka_takes_what_is_rendered() -> None:
    Producer({**client_config(SASL), **PublisherPolicy(delivery_timeout=30).config(), "log_level": 0})


def test_an_embedded_broker_that_nobody_started_is_said_so() -> None:
    with pytest.raises(UsageError, match="broker start"):
        client_config(Kafka())


def test_settings_that_the_client_refuses_are_the_users_error() -> None:
    config: dict[str, object] = {"bootstrap.servers": "127.0.0.1:9", "ssl.ca.location": "missing.pem"}
    config["security.protocol"] = "SSL"
    with pytest.raises(UsageError, match="settings"):
        KafkaPublisher(config, Metrics())
    with pytest.raises(UsageError, match="settings"):
        KafkaAdmin(config)


def test_a_batch_never_outgrows_the_topic_that_takes_least() -> None:
    settings = PublisherPolicy(max_message_bytes=5_000_000, topic_max_bytes={"small": 20_000}).config()
    assert settings["batch.size"] == 20_000
    assert settings["message.max.bytes"] == 5_000_000


def test_nothing_is_committed_but_what_is_asked_for() -> None:
    for protocol in ("consumer", "classic"):
        settings = member_config({}, "group", SubscriptionPolicy(instance_id="w-1"), protocol)
        assert settings["enable.auto.commit"] is False
        assert settings["enable.auto.offset.store"] is False
        assert settings["group.instance.id"] == "w-1"
        assert ("session.timeout.ms" in settings) is (protocol == "classic")
