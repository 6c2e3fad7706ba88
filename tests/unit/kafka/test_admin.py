"""What the admin client is asked, and how often."""

from collections.abc import Sequence
from concurrent.futures import Future
from types import SimpleNamespace
from typing import Any

import pytest
from confluent_kafka.admin import ConfigResource, ConfigSource

from workers.kafka import admin
from workers.kafka.admin import KafkaAdmin


class Slow:
    """An admin client of a broker that shows a setting at the third look, as one whose controller told it late."""

    def __init__(self, *_: object, **__: object) -> None:
        self.looks = 0

    def incremental_alter_configs(self, resources: Sequence[ConfigResource], **_: object) -> Any:
        return {resource: done(None) for resource in resources}

    def describe_configs(self, resources: Sequence[ConfigResource], **_: object) -> Any:
        self.looks += 1
        value = "2" if self.looks > 2 else "1"
        entry = SimpleNamespace(value=value, source=ConfigSource.DYNAMIC_TOPIC_CONFIG.value)
        return {resource: done({"retention.ms": entry}) for resource in resources}


def done(result: object) -> "Future[Any]":
    future: Future[Any] = Future()
    future.set_result(result)
    return future


async def test_a_setting_is_there_when_configuring_returns(monkeypatch: pytest.MonkeyPatch) -> None:
    client = Slow()
    monkeypatch.setattr(admin, "AdminClient", lambda *_, **__: client)
    await KafkaAdmin({"bootstrap.servers": "127.0.0.1:1"}).configure("topic", {"retention.ms": "2"})
    assert client.looks == 3
