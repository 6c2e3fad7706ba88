"""`/v1` over the in-memory broker: what comes in, what goes out, and every error in OpenAI's form."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import httpx
import orjson
import pytest

from schemas import headers as h
from tests.support import eventually
from tests.unit.gateway.world import World, joined, limits
from workers.core.topology.gateway import Gateway
from workers.core.topology.tenants import Tenant
from workers.gateway.app import build_app
from workers.gateway.auth import Authenticator, hash_of
from workers.gateway.front import Parts
from workers.gateway.openai_front import OpenAIFront

ASK = {"model": "llm", "messages": [{"role": "user", "content": "hi"}]}
KEY = "rfk_secret"


class Site:
    """A gateway's HTTP side in memory."""

    def __init__(self, world: World, tenants: dict[str, Tenant]) -> None:
        self.world = world
        authenticator = Authenticator(world.settings, tenants, None)
        parts = Parts(world.relay, authenticator, world.settings, world.metrics, world.clock)
        app = build_app(parts, OpenAIFront(parts, frozenset({"temperature", "tools"})).routes())
        transport = httpx.ASGITransport(app, raise_app_exceptions=False)
        self.client = httpx.AsyncClient(transport=transport, base_url="http://gateway")

    async def ask(self, headers: dict[str, str] | None = None, **body: Any) -> httpx.Response:
        """A chat completion."""
        return await self.client.post("/v1/chat/completions", json={**ASK, **body}, headers=headers)

    async def answered(self, answer: dict[str, Any], **body: Any) -> httpx.Response:
        """A chat completion that the fleet answers so."""
        asking = asyncio.create_task(self.ask(**body))
        (request,) = await eventually(self.world.requests)
        self.world.reply(request, **answer)
        return await asking


@pytest.fixture
async def site() -> AsyncIterator[Site]:
    async with opened(World()) as one:
        yield one


@asynccontextmanager
async def opened(world: World, tenants: dict[str, Tenant] | None = None) -> AsyncIterator[Site]:
    """A site whose gateway has joined its group."""
    site = Site(world, tenants or {})
    async with joined(world):
        try:
            yield site
        finally:
            await site.client.aclose()


def error(reply: httpx.Response) -> dict[str, Any]:
    """The error object of a response."""
    body = reply.json()
    assert set(body) == {"error"}
    assert set(body["error"]) == {"message", "type", "param", "code"}
    found: dict[str, Any] = body["error"]
    return found


def events(reply: httpx.Response) -> list[Any]:
    """The events of a stream; `[DONE]` as it is."""
    assert reply.headers["content-type"].startswith("text/event-stream")
    data = [line.removeprefix("data: ") for line in reply.text.split("\n\n") if line.startswith("data: ")]
    return [each if each == "[DONE]" else orjson.loads(each) for each in data]


async def test_a_question_reaches_the_fleet_and_its_answer_the_client(site: Site) -> None:
    reply = await site.answered({"text": "hello"}, temperature=0.5)
    (request,) = site.world.requests()
    envelope = orjson.loads(request.value or b"")
    assert envelope["payload"] == {"text": "hi", "parameters": {"temperature": 0.5}}
    assert envelope["source"] == "openai"
    assert h.get(request.headers, h.TARGET) == "llm"
    assert h.get(request.headers, h.DEADLINE) is not None
    assert reply.status_code == 200
    body = reply.json()
    assert body["choices"][0]["message"]["content"] == "hello"
    assert body["id"] == envelope["message_id"]
    assert reply.headers["x-request-id"]


async def test_a_stream_ends_with_done(site: Site) -> None:
    asking = asyncio.create_task(site.ask(stream=True, stream_options={"include_usage": True}))
    (request,) = await eventually(site.world.requests)
    assert orjson.loads(request.value or b"")["payload"]["stream"] is True
    site.world.chunk(request, 0, "hel")
    site.world.chunk(request, 1, "lo", finish_reason="stop", final=True)
    usage = {"prompt_tokens": 3, "completion_tokens": 2, "total_tokens": 5}
    site.world.reply(request, payload={"text": "hello", "usage": usage})
    *said, last = events(await asking)
    assert last == "[DONE]"
    assert [each["choices"][0]["delta"].get("content") for each in said[:-1]] == ["hel", "lo", None]
    assert said[-1]["usage"] == usage


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize(
    ("code", "status", "kind"),
    [
        ("content_filter", 400, "invalid_request_error"),
        ("context_length", 400, "invalid_request_error"),
        ("rate_limited", 429, "rate_limit_error"),
        ("overloaded", 503, "server_error"),
        ("upstream_5xx", 502, "server_error"),
        ("expired", 504, "server_error"),
        ("schema", 400, "invalid_request_error"),
        ("too_large", 413, "invalid_request_error"),
    ],
)
async def test_an_error_of_the_fleet_has_its_status_also_before_a_stream_begins(
    site: Site, code: str, status: int, kind: str, stream: bool
) -> None:
    failed = {"error": {"code": code, "reason": "because", "retryable": False}}
    reply = await site.answered({"payload": failed, "status": "error"}, stream=stream)
    assert reply.status_code == status
    assert error(reply)["type"] == kind
    assert error(reply)["message"] == "because"
    assert reply.headers["x-should-retry"] == "false"


async def test_an_error_within_a_stream_is_its_last_event(site: Site) -> None:
    asking = asyncio.create_task(site.ask(stream=True))
    (request,) = await eventually(site.world.requests)
    site.world.chunk(request, 0, "hel")
    failed = {"error": {"code": "timeout", "reason": "because", "retryable": True}}
    site.world.reply(request, payload=failed, status="error")
    *_, last = events(await asking)
    assert last["error"]["code"] == "timeout"


async def test_an_answer_that_does_not_come_in_time_is_said_with_its_id() -> None:
    async with opened(World(settings=Gateway(confirm=0.05, longest_wait=0.0))) as site:
        site.world.clock.advance(10)
        reply = await site.ask()
        assert reply.status_code == 504
        message_id = orjson.loads(site.world.requests()[0].value or b"")["message_id"]
        assert message_id in error(reply)["message"]


async def test_the_same_key_is_the_same_question(site: Site) -> None:
    headers = {"Idempotency-Key": "k-1"}
    asking = asyncio.create_task(site.ask(headers))
    (request,) = await eventually(site.world.requests)
    site.world.reply(request, "hello")
    assert (await asking).json()["id"] == "k-1"
    assert (await site.ask(headers)).json()["choices"][0]["message"]["content"] == "hello"
    assert len(site.world.requests()) == 1


async def test_a_client_that_goes_away_frees_its_place(site: Site) -> None:
    asking = asyncio.create_task(site.ask())
    await eventually(site.world.requests)
    assert site.world.relay.admission.in_flight == 1
    asking.cancel()
    await eventually(lambda: site.world.relay.admission.in_flight == 0)


@pytest.mark.parametrize(
    ("body", "param"),
    [({"messages": []}, "messages"), ({"api_base": "x"}, "api_base"), ({"stream": 1}, "stream")],
)
async def test_a_bad_request_says_which_field(site: Site, body: dict[str, Any], param: str) -> None:
    reply = await site.ask(**body)
    assert (reply.status_code, error(reply)["param"]) == (400, param)
    assert site.world.requests() == []


async def test_what_is_no_json_is_an_error_of_the_same_form(site: Site) -> None:
    reply = await site.client.post(
        "/v1/chat/completions", content=b"{", headers={"content-type": "application/json"}
    )
    assert (reply.status_code, error(reply)["type"]) == (400, "invalid_request_error")


async def test_the_models_are_the_targets(site: Site) -> None:
    listed = (await site.client.get("/v1/models")).json()
    assert [one["id"] for one in listed["data"]] == ["llm", "orders"]
    assert all(one["object"] == "model" for one in listed["data"])
    assert (await site.client.get("/v1/models/llm")).json()["id"] == "llm"
    missing = await site.client.get("/v1/models/gpt-4o")
    assert (missing.status_code, error(missing)["code"]) == (404, "model_not_found")


async def test_a_tenant_shows_its_key_and_sees_its_own_targets() -> None:
    tenants = {"web": Tenant(keys=(hash_of(KEY),), targets=("llm",))}
    async with opened(World(tenants=tenants), tenants) as site:
        refused = await site.ask()
        assert (refused.status_code, error(refused)["type"]) == (401, "authentication_error")
        assert error(refused)["code"] == "invalid_api_key"
        site.client.headers["authorization"] = f"Bearer {KEY}"
        listed = (await site.client.get("/v1/models")).json()["data"]
        assert [one["id"] for one in listed] == ["llm"]
        asking = asyncio.create_task(site.ask(model="orders"))
        (request,) = await eventually(site.world.requests)
        assert h.get(request.headers, h.TARGET) is None  # not its to name: the routes choose
        site.world.reply(request)
        assert (await asking).status_code == 200


async def test_too_many_at_once_are_told_to_come_again() -> None:
    async with opened(World(settings=limits(in_flight=1))) as site:
        asking = asyncio.create_task(site.ask())
        (request,) = await eventually(site.world.requests)
        refused = await site.ask()
        assert (refused.status_code, error(refused)["code"]) == (429, "rate_limit_exceeded")
        assert refused.headers["retry-after"]
        site.world.reply(request)
        assert (await asking).status_code == 200


async def test_with_kafka_away_it_says_so_at_once(site: Site) -> None:
    site.world.broker.hold_deliveries()
    reply = await site.ask()
    assert (reply.status_code, error(reply)["type"]) == (503, "server_error")
    assert reply.headers["retry-after"]
