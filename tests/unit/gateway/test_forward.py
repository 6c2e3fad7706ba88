"""`/api` over the in-memory broker: what comes in, what goes out, and every error as problem details."""

import asyncio
import json
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import Any

import httpx
import orjson
import pytest
from structlog.testing import capture_logs

from schemas import headers as h
from schemas.errors import ErrorClass
from tests.support import eventually
from tests.unit.gateway.world import World, joined, limits
from workers.core.topology.gateway import Cors, Gateway
from workers.core.topology.tenants import Tenant
from workers.gateway.app import build_app
from workers.gateway.auth import Authenticator, hash_of, new_key
from workers.gateway.front import Parts
from workers.gateway.refusals import STATUS

ASK = {"text": "测试消息", "context": {}}
ACME, OTHER = new_key(), new_key()
TENANTS = {
    "acme": Tenant(keys=(hash_of(ACME),), targets=("llm",)),
    "other": Tenant(keys=(hash_of(OTHER),)),
}


class Site:
    """A gateway's HTTP side in memory."""

    def __init__(self, world: World, tenants: Mapping[str, Tenant]) -> None:
        self.world = world
        authenticator = Authenticator(world.settings, tenants, None)
        parts = Parts(world.relay, authenticator, world.settings, world.metrics, world.clock)
        transport = httpx.ASGITransport(build_app(parts), raise_app_exceptions=False)
        self.client = httpx.AsyncClient(transport=transport, base_url="http://gateway")

    async def ask(self, body: Any = None, **headers: str) -> httpx.Response:
        """A request that nobody answers, so that a short wait is best."""
        sent = {name.replace("_", "-"): value for name, value in headers.items()}
        return await self.client.post(
            "/api/forward", json=ASK if body is None else body, headers={"Prefer": "wait=0", **sent}
        )

    async def answered(
        self, body: Any = None, reply: Mapping[str, Any] | None = None, **headers: str
    ) -> httpx.Response:
        """A request that the fleet answers so."""
        before = len(self.world.requests())
        asking = asyncio.create_task(self.ask(body, Prefer="wait=30", **headers))
        await eventually(lambda: len(self.world.requests()) > before)
        self.world.reply(self.world.requests()[-1], **(reply or {}))
        return await asking


@asynccontextmanager
async def opened(world: World, tenants: Mapping[str, Tenant] | None = None) -> AsyncIterator[Site]:
    """A site whose gateway has joined its group."""
    site = Site(world, tenants or {})
    async with joined(world):
        try:
            yield site
        finally:
            await site.client.aclose()


@pytest.fixture
async def site() -> AsyncIterator[Site]:
    async with opened(World()) as running:
        yield running


def problem(response: httpx.Response) -> dict[str, Any]:
    """The problem details, checked for their form."""
    assert response.headers["content-type"] == "application/problem+json", response.text
    found: dict[str, Any] = response.json()
    assert found["status"] == response.status_code
    assert found.keys() >= {"type", "title", "detail", "code", "request_id"}
    assert found["request_id"] == response.headers["x-request-id"]
    return found


async def test_the_answer_is_the_response_envelope_as_the_fleet_sent_it(site: Site) -> None:
    response = await site.answered(reply={"text": "你好"})
    assert response.status_code == 200
    assert response.json()["payload"]["text"] == "你好"
    assert response.headers["preference-applied"] == "wait=30"


async def test_everything_of_a_short_question_goes_into_the_payload(site: Site) -> None:
    await site.ask({**ASK, "source": "app", "session_id": "s", "parameters": {"temperature": 0}})
    envelope = orjson.loads(site.world.requests()[0].value or b"")
    assert envelope["source"] == "app"
    assert envelope["payload"] == {**ASK, "session_id": "s", "parameters": {"temperature": 0}}


async def test_unknown_fields_of_an_envelope_are_kept(site: Site) -> None:
    await site.ask({"payload": ASK, "campaign": "spring"})
    assert orjson.loads(site.world.requests()[0].value or b"")["campaign"] == "spring"


@pytest.mark.parametrize(
    ("prefer", "applied"),
    [("respond-async", "respond-async"), ("wait=0", "wait=0"), ('foo; wait="0", handling=strict', "wait=0")],
)
async def test_who_prefers_not_to_wait_gets_an_id_at_once(site: Site, prefer: str, applied: str) -> None:
    response = await site.ask(Prefer=prefer)
    assert response.status_code == 202
    assert response.headers["preference-applied"] == applied
    where = response.headers["location"]
    assert where == f"/api/responses/{response.json()['message_id']}"
    again = await site.client.get(where)
    assert (again.status_code, again.headers["retry-after"]) == (202, "1")


async def test_nobody_waits_longer_than_the_topology_allows() -> None:
    async with opened(World(settings=Gateway(wait=0, longest_wait=0.01, confirm=1))) as site:
        response = await site.ask(Prefer="wait=99999")
        assert (response.status_code, response.headers["preference-applied"]) == (202, "wait=0.01")


async def test_an_id_with_every_kind_of_character_is_found_where_its_location_says(site: Site) -> None:
    message_id = "订单/1?x=&#%2F 二"
    response = await site.ask({"message_id": message_id, "payload": ASK})
    assert response.json()["message_id"] == message_id
    assert (await site.client.get(response.headers["location"])).json()["message_id"] == message_id


async def test_the_idempotency_key_is_the_message_id(site: Site) -> None:
    first = await site.ask(Idempotency_Key='"my-key"')
    assert first.json()["message_id"] == "my-key"
    assert (await site.ask(Idempotency_Key="my-key")).status_code == 202
    problem(await site.ask({"text": "another"}, Idempotency_Key="my-key"))
    assert (await site.ask({"message_id": "x", "payload": ASK}, Idempotency_Key="y")).status_code == 422
    assert (await site.ask(Idempotency_Key=" ")).status_code == 400


@pytest.mark.parametrize("error_class", list(ErrorClass))
async def test_every_class_of_failure_has_a_status_and_is_told_as_a_problem(
    site: Site, error_class: ErrorClass
) -> None:
    error = {"code": error_class, "reason": "it did not work", "retryable": False}
    response = await site.answered(reply={"status": "error", "payload": {"error": error}})
    found = problem(response)
    assert (found["status"], found["code"]) == (STATUS[error_class], error_class)
    assert (found["detail"], found["target"], found["retryable"]) == ("it did not work", "llm", False)
    assert 400 <= response.status_code < 600
    assert (await site.client.get(f"/api/responses/{found['message_id']}")).json()["status"] == "error"


@pytest.mark.parametrize(
    ("content", "kind", "status"),
    [
        (b"", "application/json", 400),
        (b"{", "application/json", 400),
        (b"[]", "application/json", 400),
        (b'"text"', "application/json", 400),
        (b'{"text": NaN}', "application/json", 400),
        (b'{"text": "\xff"}', "application/json", 400),
        (b"{}", "application/json", 422),
        (b'{"text": null}', "application/json", 422),
        (b'{"payload": "text"}', "application/json", 422),
        (b'{"text": "hi"}', "text/plain", 415),
        (b"text=hi", "application/x-www-form-urlencoded", 415),
        (b'{"text": "hi"}', "application/json; charset=utf-8", 202),
    ],
)
async def test_what_is_no_question_is_told_what_is_wrong(
    site: Site, content: bytes, kind: str, status: int
) -> None:
    response = await site.client.post(
        "/api/forward", content=content, headers={"Content-Type": kind, "Prefer": "wait=0"}
    )
    assert response.status_code == status, response.text
    if status != 202:
        problem(response)


async def test_a_body_one_byte_too_long_is_refused_whether_or_not_it_says_so() -> None:
    body = b'{"text":"%s"}' % (b"x" * 100)
    async with opened(World(settings=limits(body=len(body)))) as site:

        async def pieces(content: bytes) -> AsyncIterator[bytes]:
            for start in range(0, len(content), 10):
                yield content[start : start + 10]

        headers = {"Content-Type": "application/json", "Prefer": "wait=0"}
        for content, status in ((body, 202), (body + b" ", 413)):
            said = await site.client.post("/api/forward", content=content, headers=headers)
            unsaid = await site.client.post("/api/forward", content=pieces(content), headers=headers)
            assert (said.status_code, unsaid.status_code) == (status, status)
            if status == 413:
                assert (problem(said)["code"], problem(unsaid)["code"]) == ("too_large", "too_large")


async def test_a_body_one_level_too_deep_is_refused() -> None:
    async with opened(World(settings=limits(depth=5))) as site:
        for depth, status in ((5, 202), (6, 400)):
            nested: Any = "x"
            for _ in range(depth - 2):  # the body itself and its context are the first two
                nested = [nested]
            assert (await site.ask({"text": "hi", "context": {"a": nested}})).status_code == status


async def test_what_is_not_there_or_not_so_called_is_a_problem_too(site: Site) -> None:
    assert problem(await site.client.get("/nowhere"))["status"] == 404
    wrong = await site.client.get("/api/forward")
    assert problem(wrong)["status"] == 405
    assert wrong.headers["allow"] == "POST"
    assert problem(await site.client.get("/api/responses/never-asked"))["status"] == 404
    assert problem(await site.client.post("/api/forward?stream=maybe", json=ASK))["status"] == 400


async def test_a_bug_of_ours_tells_nobody_the_prompt(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    async def broken(_: object) -> None:
        raise ValueError("can't make sense of my secret question")

    monkeypatch.setattr(site.world.relay, "submit", broken)
    with capture_logs() as logs:
        response = await site.ask(x_request_id="find-me")
    assert problem(response)["status"] == 500
    (line,) = logs
    assert (line["event"], line["request_id"], line["error"]) == ("gateway_bug", "find-me", "ValueError")
    assert "secret" not in repr((logs, response.text))


@pytest.mark.parametrize("shown", ["x" * 129, "bad\tid", "наш"])
async def test_a_request_id_that_no_log_line_should_hold_is_replaced(site: Site, shown: str) -> None:
    headers = {b"x-request-id": shown.encode(), b"prefer": b"wait=0"}
    response = await site.client.post("/api/forward", json=ASK, headers=list(headers.items()))
    assert response.headers["x-request-id"].isalnum()


async def test_events_come_as_the_answer_is_written(site: Site) -> None:
    async def reply() -> None:
        (request,) = await eventually(site.world.requests)
        site.world.chunk(request, 0, "Hel")
        site.world.chunk(request, 1, "lo", final=True)
        site.world.reply(request, "Hello")

    replying = asyncio.create_task(reply())
    response = await site.client.post("/api/forward?stream=true", json=ASK, headers={"Prefer": "wait=30"})
    await replying
    assert response.headers["content-type"] == "text/event-stream; charset=utf-8"
    events = [event.split("\ndata: ") for event in response.text.split("\n\n") if event]
    assert [name for name, _ in events] == ["event: chunk", "event: chunk", "event: response"]
    assert [json.loads(data)["text"] for _, data in events[:2]] == ["Hel", "lo"]
    assert json.loads(events[2][1])["payload"]["text"] == "Hello"


async def test_a_stream_whose_time_is_over_ends_with_the_id(site: Site) -> None:
    response = await site.client.post("/api/forward?stream=true", json=ASK, headers={"Prefer": "wait=0.01"})
    name, data = response.text.strip().split("\ndata: ")
    assert name == "event: pending"
    assert json.loads(data)["status"] == "pending"
    where = json.loads(data)["location"]
    assert (await site.client.get(where)).status_code == 202


async def test_a_stream_of_a_failure_ends_with_its_problem(site: Site) -> None:
    asking = asyncio.create_task(
        site.client.post("/api/forward", json=ASK, headers={"Accept": "text/event-stream"})
    )
    (request,) = await eventually(site.world.requests)
    error = {"code": "timeout", "reason": "too slow", "retryable": True}
    site.world.reply(request, status="error", payload={"error": error})
    name, data = (await asking).text.strip().split("\ndata: ")
    assert name == "event: error"
    assert (json.loads(data)["status"], json.loads(data)["code"]) == (504, "timeout")


async def test_who_shows_no_key_is_told_how_and_learns_nothing_else() -> None:
    async with opened(World(tenants=TENANTS), TENANTS) as site:
        for headers in (
            {},
            {"Authorization": "Basic abc"},
            {"X-API-Key": "rfk_wrong"},
            {"Authorization": "Bearer x"},
        ):
            for response in (
                await site.client.post("/api/forward", json=ASK, headers=headers),
                await site.client.get("/api/responses/any", headers=headers),
            ):
                assert problem(response)["status"] == 401
                assert response.headers["www-authenticate"] == "Bearer"
        assert site.world.requests() == []


async def test_a_tenant_sees_its_own_answers_alone_whatever_ids_it_guesses() -> None:
    async with opened(World(tenants=TENANTS), TENANTS) as site:
        mine = await site.answered(Authorization=f"Bearer {ACME}", Idempotency_Key="guess-me")
        assert mine.status_code == 200
        where = mine.headers["content-location"]
        assert (await site.client.get(where, headers={"X-API-Key": ACME})).status_code == 200
        assert (await site.client.get(where, headers={"X-API-Key": OTHER})).status_code == 404
        same = await site.ask({"text": "mine"}, X_API_Key=OTHER, Idempotency_Key="guess-me")
        assert same.status_code == 202, "another tenant's ids are none of its business"
        tenants = {h.get(record.headers, h.TENANT) for record in site.world.requests()}
        assert tenants == {"acme", "other"}


async def test_a_target_that_is_not_a_tenants_is_forbidden() -> None:
    async with opened(World(tenants=TENANTS), TENANTS) as site:
        response = await site.client.post(
            "/api/forward?target=orders", json=ASK, headers={"X-API-Key": ACME, "Prefer": "wait=0"}
        )
        assert problem(response)["status"] == 403


async def test_the_forged_tenant_of_an_envelope_is_not_sent_on() -> None:
    async with opened(World(tenants=TENANTS), TENANTS) as site:
        await site.ask({"payload": ASK, "tenant": "other"}, X_API_Key=ACME)
        assert "tenant" not in orjson.loads(site.world.requests()[0].value or b"")


async def test_other_pages_may_not_call_unless_they_are_named(site: Site) -> None:
    headers = {"Origin": "https://shop.example", "Access-Control-Request-Method": "POST"}
    refused = await site.client.options("/api/forward", headers=headers)
    assert "access-control-allow-origin" not in refused.headers
    named = Gateway(confirm=1, cors=Cors(origins=("https://shop.example",)))
    async with opened(World(settings=named)) as open_site:
        allowed = await open_site.client.options("/api/forward", headers=headers)
        assert allowed.headers["access-control-allow-origin"] == "https://shop.example"
        other = {**headers, "Origin": "https://evil.example"}
        assert (
            "access-control-allow-origin"
            not in (await open_site.client.options("/api/forward", headers=other)).headers
        )


async def test_kafka_away_is_a_503_with_when_to_come_again(site: Site) -> None:
    site.world.watch.missed("injected")
    with capture_logs() as logs:
        response = await site.ask(x_request_id="find-me")
    assert problem(response)["status"] == 503
    assert int(response.headers["retry-after"]) >= 1
    assert [line["request_id"] for line in logs] == ["find-me"]


async def test_the_page_works_without_a_network_and_the_description_with_every_tool(site: Site) -> None:
    page = await site.client.get("/")
    assert "default-src 'none'" in page.headers["content-security-policy"]
    assert "http://" not in page.text
    assert "https://" not in page.text
    assert (await site.client.get("/docs")).text == page.text
    description = (await site.client.get("/openapi.json")).json()
    assert description["openapi"] == "3.1.0"
    assert "/api/forward" in description["paths"]
