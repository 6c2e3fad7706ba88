"""A gateway as a process, with a fleet behind it: asked by a client that knows no Kafka."""

import asyncio
import json
import re
import signal
import sys
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import orjson
import pytest
import pytest_asyncio

from tests.brokers import PrivateBroker
from tests.fleet import Fleet, running_fleet
from tests.gateways import QUESTION, RunningGateway, running_gateway
from tests.guides import blocks
from tests.processes import ROOT
from tests.support import eventually, unique

PRODUCERS = ROOT / "docs/producers.md"

PATIENCE = 60.0
STEADY: dict[str, Any] = {
    "target": {"timeout": "2m", "breaker": {"min_calls": 1000}},
    "more": {"gateway": {"confirm": "30s", "wait": "50s"}},
}

pytestmark = pytest.mark.asyncio(loop_scope="module")


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def shared_fleet(kafka: str, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Fleet]:
    """A router and a worker; gateways are the tests' to start."""
    directory = tmp_path_factory.mktemp("gateways")
    async with running_fleet(kafka, directory, with_redis=True, **STEADY) as fleet:
        await asyncio.gather(fleet.add("router"), fleet.add("worker"))
        yield fleet


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def shared_gateway(shared_fleet: Fleet) -> AsyncIterator[RunningGateway]:
    async with running_gateway(shared_fleet) as gateway:
        yield gateway


@pytest.fixture
def fleet(shared_fleet: Fleet) -> Fleet:
    shared_fleet.misbehave()
    return shared_fleet


@pytest.fixture
def gateway(fleet: Fleet, shared_gateway: RunningGateway) -> RunningGateway:
    return shared_gateway


@contextmanager
def nothing_routed(fleet: Fleet) -> Iterator[None]:
    """Until the end of this no question is answered, however long that takes."""
    (router,) = fleet.of("router")
    router.signal(signal.SIGSTOP)
    try:
        yield
    finally:
        router.signal(signal.SIGCONT)


async def kept(gateway: RunningGateway, message_id: str) -> dict[str, Any]:
    """What became of a question, when that is found under its id: it is told before it is kept."""
    return await eventually(lambda: _found(gateway, message_id), PATIENCE)


async def _found(gateway: RunningGateway, message_id: str) -> dict[str, Any]:
    """Nothing where there is nothing yet."""
    response = await gateway.find(message_id)
    found: dict[str, Any] = response.json()
    return found if response.status_code == 200 else {}


async def test_what_a_locust_user_posts_is_answered(gateway: RunningGateway) -> None:
    response = await gateway.ask()
    assert response.status_code == 200, response.text
    answer = response.json()
    assert (answer["status"], answer["source"]) == ("ok", "llm")
    assert answer["payload"]["usage"]["total_tokens"] > 0
    assert answer["route"]["rule"] == "default"
    assert response.headers["content-location"] == f"/api/responses/{answer['message_id']}"
    assert response.headers["x-request-id"]
    assert await kept(gateway, answer["message_id"]) == answer


async def test_a_whole_envelope_and_a_named_target_are_taken(gateway: RunningGateway) -> None:
    envelope = {
        "message_id": unique("req"),
        "source": "web",
        "payload": {"text": "推荐一款5000元以内的笔记本电脑", "session_id": "s1"},
        "timestamp": 1715234567,
    }
    response = await gateway.client.post("/api/forward", params={"target": "llm"}, json=envelope)
    assert response.status_code == 200, response.text
    assert response.json()["message_id"] == envelope["message_id"]
    assert response.json()["route"]["rule"] == "named"


async def test_an_answer_that_takes_longer_than_the_client_waits_is_found_under_its_id(
    fleet: Fleet, gateway: RunningGateway
) -> None:
    with nothing_routed(fleet):
        response = await gateway.ask(wait=0.1)
        assert response.status_code == 202
        assert response.headers["preference-applied"] == "wait=0.1"
        where = response.headers["location"]
        assert (await gateway.client.get(where)).status_code == 202
    found = await kept(gateway, response.json()["message_id"])
    assert where == f"/api/responses/{found['message_id']}"
    assert found["status"] == "ok"


async def test_the_same_key_gets_the_same_answer_and_another_question_is_refused(
    fleet: Fleet, gateway: RunningGateway
) -> None:
    key = unique("key")
    before = fleet.calls()["total"]
    first = await gateway.ask(Idempotency_Key=key)
    assert first.status_code == 200
    await kept(gateway, key)
    again = await gateway.ask(Idempotency_Key=key)
    assert (again.status_code, again.json()) == (200, first.json())
    assert fleet.calls()["total"] == before + 1
    other = await gateway.ask({"text": "something else"}, Idempotency_Key=key)
    assert other.status_code == 422
    assert other.headers["content-type"] == "application/problem+json"


async def test_a_failure_of_the_model_is_told_with_its_class(fleet: Fleet, gateway: RunningGateway) -> None:
    fleet.misbehave(error_rate=1, error_status=422)
    response = await gateway.ask(x_request_id="asked-by-me")
    assert response.status_code == 422
    problem = response.json()
    assert (problem["code"], problem["request_id"]) == ("upstream_4xx", "asked-by-me")
    assert response.headers["x-request-id"] == "asked-by-me"
    assert (await kept(gateway, problem["message_id"]))["status"] == "error"


async def test_an_answer_is_streamed_as_events_and_ends_with_the_whole_of_it(
    gateway: RunningGateway,
) -> None:
    events: list[tuple[str, dict[str, Any]]] = []
    async with gateway.client.stream(
        "POST", "/api/forward", json=QUESTION, headers={"Accept": "text/event-stream"}
    ) as response:
        assert response.headers["content-type"].startswith("text/event-stream")
        name = ""
        async for line in response.aiter_lines():
            if line.startswith("event: "):
                name = line.removeprefix("event: ")
            elif line.startswith("data: "):
                events.append((name, orjson.loads(line.removeprefix("data: "))))
    *chunks, (last, whole) = events
    assert last == "response"
    assert {name for name, _ in chunks} == {"chunk"}
    assert "".join(chunk["text"] for _, chunk in chunks) == whole["payload"]["text"]


async def run(*command: str) -> str:
    process = await asyncio.create_subprocess_exec(
        *command, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE
    )
    out, err = await asyncio.wait_for(process.communicate(), 60)
    assert process.returncode == 0, err.decode()
    return out.decode()


async def test_what_producers_are_told_to_run_asks_the_fleet(gateway: RunningGateway, tmp_path: Path) -> None:
    address = str(gateway.client.base_url).rstrip("/")

    def here(block: str) -> str:
        assert "http://127.0.0.1:8080" in block
        return block.replace("http://127.0.0.1:8080", address)

    asked, not_waited, came_back, streamed = [
        await run("bash", "-c", f"set -e; {here(block)}") for block in blocks(PRODUCERS, "bash")
    ]
    assert json.loads(asked)["status"] == "ok"
    assert json.loads(not_waited) == {
        "message_id": "order-4711",
        "status": "pending",
        "location": "/api/responses/order-4711",
    }
    assert json.loads(came_back)["message_id"] == "order-4711"
    assert re.findall(r"^event: (\w+)$", streamed, re.MULTILINE)[-1] == "response"
    (script,) = blocks(PRODUCERS, "python")
    (tmp_path / "ask.py").write_text(here(script))
    assert "stub model" in await run(sys.executable, str(tmp_path / "ask.py"))


async def test_a_killed_gateway_loses_no_answer_another_has_them(
    fleet: Fleet, gateway: RunningGateway, tmp_path: Path
) -> None:
    async with running_gateway(fleet) as doomed:
        ids = [unique("pending") for _ in range(40)]
        with nothing_routed(fleet):
            asking = [asyncio.create_task(doomed.ask(Idempotency_Key=each)) for each in ids]
            await eventually(lambda: _pending(gateway, ids), PATIENCE)
            await doomed.process.kill()
        ended = await asyncio.gather(*asking, return_exceptions=True)
        assert all(isinstance(each, httpx.HTTPError) for each in ended)

        async def all_found() -> bool:
            found = await asyncio.gather(*(gateway.find(each) for each in ids))
            return all(each.status_code == 200 and each.json()["status"] == "ok" for each in found)

        await eventually(all_found, timeout=100, interval=0.2)


async def _pending(gateway: RunningGateway, ids: list[str]) -> bool:
    """Whether every replica knows of these requests."""
    found = await asyncio.gather(*(gateway.find(each) for each in ids))
    return all(each.status_code == 202 for each in found)


async def test_a_gateway_that_is_stopped_answers_what_it_can(fleet: Fleet, gateway: RunningGateway) -> None:
    async with running_gateway(fleet, "--member", "stopped") as stopped:
        ids = [unique("draining") for _ in range(5)]
        with nothing_routed(fleet):
            asking = [asyncio.create_task(stopped.ask(Idempotency_Key=each)) for each in ids]
            await eventually(lambda: _pending(gateway, ids), PATIENCE)
            stopped.process.signal(signal.SIGTERM)
            await eventually(lambda: not stopped.process.is_ready(), PATIENCE)
        answers = await asyncio.gather(*asking)
        assert [answer.status_code for answer in answers] == [200] * 5
        assert await stopped.process.ended() == 0


async def test_five_hundred_at_once_are_all_answered(fleet: Fleet, gateway: RunningGateway) -> None:
    fleet.misbehave(delay_ms=50)
    answers = await asyncio.gather(*(gateway.ask() for _ in range(500)))
    assert {answer.status_code for answer in answers} == {200}
    assert len({answer.json()["message_id"] for answer in answers}) == 500


async def test_kafka_away_is_a_503_at_once_and_over_when_it_is_back(
    restartable_kafka: PrivateBroker, tmp_path: Path
) -> None:
    async with (
        running_fleet(restartable_kafka.bootstrap, tmp_path, reached_by=restartable_kafka.proxied) as fleet,
        running_gateway(fleet) as gateway,
    ):
        await eventually(lambda: _taken(gateway), PATIENCE)
        for break_it in (restartable_kafka.proxy.cut, restartable_kafka.proxy.blackhole):
            break_it()
            first = await gateway.ask(wait=0)
            assert first.status_code == 503
            assert int(first.headers["retry-after"]) >= 1
            refused = await asyncio.gather(*(gateway.ask(wait=0) for _ in range(50)))
            assert {response.status_code for response in refused} == {503}
            assert not gateway.process.is_ready()
            restartable_kafka.proxy.heal()
            await eventually(lambda: _taken(gateway), PATIENCE, interval=0.2)


async def _taken(gateway: RunningGateway) -> bool:
    return (await gateway.ask(wait=0)).status_code == 202
