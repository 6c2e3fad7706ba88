"""Which consumer group protocol a cluster speaks."""

import logging
from collections.abc import Mapping
from typing import Any

from confluent_kafka import KafkaException
from confluent_kafka.admin import AdminClient, ConfigResource, ResourceType

from workers.kafka.failures import is_unreachable, kafka_error, unreachable
from workers.kafka.membership import Protocol

_SETTING = "group.coordinator.rebalance.protocols"
_TIMEOUT = 5.0


def spoken_protocol(config: Mapping[str, object]) -> Protocol:
    """`consumer` where a broker says that it offers KIP-848, else `classic`, which every broker speaks. Blocking.

    A client that joins with the new protocol where no broker knows it hears nothing at all, so this asks first. A user
    without the right to describe the cluster's configuration gets `classic`. Raises `UnreachableError`.
    """
    settings: dict[str, Any] = dict(config)
    client = AdminClient(settings, logger=logging.getLogger("librdkafka.probe"))
    try:
        broker = next(iter(client.list_topics(timeout=_TIMEOUT).brokers))
        resource = ConfigResource(ResourceType.BROKER, str(broker))
        answer = client.describe_configs([resource], request_timeout=_TIMEOUT)[resource]
        offered = answer.result(_TIMEOUT).get(_SETTING)
    except (KafkaException, TimeoutError, StopIteration) as error:
        if isinstance(error, KafkaException) and not is_unreachable(kafka_error(error)):
            return "classic"
        failure = kafka_error(error) if isinstance(error, KafkaException) else None
        raise unreachable(config.get("bootstrap.servers"), failure) from error
    return "consumer" if offered is not None and "consumer" in (offered.value or "") else "classic"
