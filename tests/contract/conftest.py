"""Each contract suite runs on the fake that ships and on the real thing."""

from collections.abc import AsyncIterator

import pytest

from tests.kafka_worlds import KafkaWorld, MemoryWorld, World


@pytest.fixture(params=["memory", "kafka"])
async def world(request: pytest.FixtureRequest) -> AsyncIterator[World]:
    """A Kafka: in memory, then real."""
    if request.param == "memory":
        opened: World = MemoryWorld()
    else:
        opened = KafkaWorld(request.getfixturevalue("kafka"))
    yield opened
    await opened.close()
