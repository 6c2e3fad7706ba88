"""`/ws` over the in-memory broker: frames in, frames out, and what comes of a connection that breaks."""

from collections.abc import AsyncIterator
from typing import Any

import orjson
import pytest

from schemas import headers as h
from tests.support import eventually
from tests.unit.gateway.sockets import Site, opened
from tests.unit.gateway.world import World
from workers.core.errors import UnreachableError
from workers.core.topology.gateway import Cors, Gateway
from workers.core.topology.tenants import Tenant
from workers.gateway.auth import hash_of

KEY = "rfk_secret"


@pytest.fixture
async def site() -> AsyncIterator[Site]:
    async with opened(World()) as one:
        yield one


async def test_an_answer_comes_back_under_the_clients_id(site: Site) -> None:
    client = site.connect()
    client.send(type="ask", id="q1", text="hi", context={"a": 1}, target="llm")
    request = await site.request()
    assert orjson.loads(request.value)["payload"] == {"text": "hi", "context": {"a": 1}}
    assert h.get(request.headers, h.TARGET) == "llm"
    accepted = await client.got("accepted", "q1")
    assert accepted["message_id"] == orjson.loads(request.value)["message_id"]
    site.world.reply(request, "hello")
    answer = await client.got("answer", "q1")
    assert answer["response"]["payload"]["text"] == "hello"
    assert [one["type"] for one in client.frames] == ["welcome", "accepted", "answer"]


async def test_a_whole_envelope_goes_as_it_is_and_its_id_makes_it_the_same_question(site: Site) -> None:
    client = site.connect()
    envelope = {"message_id": "m1", "source": "app", "payload": {"text": "hi", "session_id": "s1"}}
    client.send(type="ask", id="q1", **envelope)
    request = await site.request()
    assert orjson.loads(request.value) | envelope == orjson.loads(request.value)
    site.world.reply(request, "hello")
    await client.got("answer", "q1")
    client.send(type="ask", id="q2", **envelope)
    assert (await client.got("answer", "q2"))["response"]["payload"]["text"] == "hello"
    assert len(site.world.requests()) == 1


async def test_many_requests_are_under_way_at_once_and_answered_in_any_order(site: Site) -> None:
    client = site.connect()
    for number in range(50):
        client.send(type="ask", id=f"q{number}", message_id=f"m{number}", text="hi")
    await eventually(lambda: len(client.of("accepted")) == 50)
    for request in reversed(site.world.requests()):
        site.world.reply(request, orjson.loads(request.value or b"")["message_id"])
    await eventually(lambda: len(client.of("answer")) == 50)
    answers = {one["id"]: one["response"]["payload"]["text"] for one in client.of("answer")}
    assert answers == {f"q{number}": f"m{number}" for number in range(50)}


async def test_the_pieces_of_a_stream_come_before_its_answer(site: Site) -> None:
    client = site.connect()
    client.send(type="ask", id="q1", text="hi", stream=True)
    request = await site.request()
    site.world.chunk(request, 0, "hel")
    assert (await client.got("chunk", "q1"))["text"] == "hel"
    site.world.chunk(request, 1, "lo", final=True)
    site.world.reply(request, "hello")
    await client.got("answer", "q1")
    assert [one["type"] for one in client.frames[2:]] == ["chunk", "chunk", "answer"]
    assert [one["index"] for one in client.of("chunk")] == [0, 1]


async def test_an_error_of_the_fleet_and_one_of_the_gateway_have_one_form(site: Site) -> None:
    client = site.connect()
    client.send(type="ask", id="q1", text="hi")
    failed = {"error": {"code": "timeout", "reason": "because", "retryable": True}}
    site.world.reply(await site.request(), payload=failed, status="error")
    error = (await client.got("error", "q1"))["error"]
    assert error == {"code": "timeout", "status": 504, "detail": "because", "retryable": True}
    client.send(type="ask", id="q2", text="hi", target="nobody")
    error = (await client.got("error", "q2"))["error"]
    assert (error["code"], error["status"]) == ("unroutable", 404)


async def test_what_was_cancelled_is_not_delivered_and_found_under_its_id(site: Site) -> None:
    client = site.connect()
    client.send(type="ask", id="q1", text="hi")
    accepted = await client.got("accepted", "q1")
    client.send(type="cancel", id="q1")
    await client.got("cancelled", "q1")
    assert site.world.relay.admission.in_flight == 0
    site.world.reply(await site.request(), "hello")
    client.send(type="ping", id="p")
    await client.got("pong", "p")

    async def found() -> Any:
        return await site.world.relay.find(None, accepted["message_id"])

    assert (await eventually(found)).payload.text == "hello"
    assert client.of("answer") == []


@pytest.mark.parametrize(
    ("frame", "code"),
    [
        ("{", "schema"),
        ("[]", "schema"),
        ("{}", "schema"),
        ('{"type": "shout", "id": "q"}', "schema"),
        ('{"type": "ask", "text": "no id"}', "schema"),
        ('{"type": "ask", "id": 7}', "schema"),
        ('{"type": "ask", "id": "q"}', "schema"),
        ('{"type": "ask", "id": "q", "text": "hi", "stream": 1}', "schema"),
        ('{"type": "ask", "id": "q", "text": "hi", "timeout": -1}', "schema"),
        ('{"type": "ask", "id": "q", "text": "hi", "target": 1}', "schema"),
        ('{"type": "ask", "id": "q", "x": ' + "[" * 40 + "]" * 40 + "}", "schema"),
        ('{"type": "cancel"}', "schema"),
        ('{"type": "resume", "session": "x"}', "schema"),
        ('{"type": "resume", "session": "x", "have": [1]}', "schema"),
        ("\ud800", "schema"),
    ],
)
async def test_a_frame_that_makes_no_sense_costs_nothing_but_itself(
    site: Site, frame: str, code: str
) -> None:
    client = site.connect()
    client.send_text(frame)
    assert (await client.got("error"))["error"]["code"] == code
    client.send(type="ping")
    await client.got("pong")
    assert site.world.requests() == []


async def test_a_frame_of_bytes_is_refused(site: Site) -> None:
    client = site.connect()
    client.send_bytes(b'{"type": "ping"}')
    assert (await client.got("error"))["error"]["detail"] == "frames are texts"


async def test_an_id_in_use_is_refused_until_it_is_answered(site: Site) -> None:
    client = site.connect()
    client.send(type="ask", id="q", text="hi")
    await client.got("accepted", "q")
    client.send(type="ask", id="q", text="ho")
    await client.got("error", "q")
    site.world.reply(await site.request(), "hello")
    await client.got("answer", "q")
    client.send(type="ask", id="q", text="ho")
    await eventually(lambda: len(client.of("accepted", "q")) == 2)


async def test_after_a_reconnect_the_answers_that_came_meanwhile_are_delivered(site: Site) -> None:
    first = site.connect()
    for name in ("had", "came", "coming"):
        first.send(type="ask", id=name, message_id=name, text="hi")
    await eventually(lambda: len(first.of("accepted")) == 3)
    requests = {orjson.loads(one.value or b"")["message_id"]: one for one in site.world.requests()}
    site.world.reply(requests["had"], "1")
    await first.got("answer", "had")
    session = first.of("welcome")[0]["session"]
    await first.leave()
    assert site.world.relay.admission.in_flight == 0
    site.world.reply(requests["came"], "2")
    second = site.connect()
    second.send(type="resume", session=session, have=["had"])
    assert set((await second.got("resumed"))["pending"]) == {"came", "coming"}
    assert (await second.got("answer", "came"))["response"]["payload"]["text"] == "2"
    site.world.reply(requests["coming"], "3")
    assert (await second.got("answer", "coming"))["response"]["payload"]["text"] == "3"
    assert second.of("answer", "had") == []


async def test_another_gateway_goes_on_with_a_session(site: Site) -> None:
    first = site.connect()
    first.send(type="ask", id="q", text="hi")
    await first.got("accepted", "q")
    request = await site.request()
    await first.leave()
    async with opened(World(broker=site.world.broker, store=site.world.store)) as other:
        second = other.connect()
        second.send(type="resume", session=first.of("welcome")[0]["session"])
        await second.got("resumed")
        site.world.reply(request, "hello")
        assert (await second.got("answer", "q"))["response"]["payload"]["text"] == "hello"


async def test_a_session_that_went_on_can_be_gone_on_with_again(site: Site) -> None:
    first = site.connect()
    first.send(type="ask", id="a", text="hi")
    await first.got("accepted", "a")
    session = first.of("welcome")[0]["session"]
    await first.leave()
    second = site.connect()
    second.send(type="resume", session=session, have=["a"])
    await second.got("resumed")
    second.send(type="ask", id="b", text="ho")
    await second.got("accepted", "b")
    await second.leave()
    third = site.connect()
    third.send(type="resume", session=session)
    assert (await third.got("resumed"))["pending"] == ["a", "b"]


async def test_nobody_goes_on_with_another_tenants_session() -> None:
    tenants = {name: Tenant(keys=(hash_of(KEY + name),)) for name in ("a", "b")}
    async with opened(World(tenants=tenants), tenants) as site:
        first = site.connect(authorization=f"Bearer {KEY}a")
        first.send(type="ask", id="q", text="hi")
        await first.got("accepted", "q")
        second = site.connect(authorization=f"Bearer {KEY}b")
        second.send(type="resume", session=first.of("welcome")[0]["session"])
        assert (await second.got("error"))["error"]["status"] == 404


async def test_a_page_shows_its_key_as_a_subprotocol() -> None:
    tenants = {"a": Tenant(keys=(hash_of(KEY),))}
    async with opened(World(tenants=tenants), tenants) as site:
        client = site.connect("relayfleet", f"bearer.{KEY}")
        await client.got("welcome")
        assert client.sent[0]["subprotocol"] == "relayfleet"
        refused = site.connect("relayfleet", "bearer.wrong")
        await refused.task
        assert refused.status == 401


@pytest.mark.parametrize(
    ("origin", "status"),
    [("http://gateway", None), ("https://page.example", None), ("https://evil.example", 403), ("null", 403)],
)
async def test_only_pages_that_are_named_may_connect(origin: str, status: int | None) -> None:
    settings = Gateway(confirm=0.05, cors=Cors(origins=("https://page.example",)))
    async with opened(World(settings=settings)) as site:
        client = site.connect(origin=origin)
        await eventually(lambda: client.frames or client.status)
        assert client.status == status


async def test_a_timeout_is_the_requests_deadline(site: Site) -> None:
    client = site.connect()
    client.send(type="ask", id="q", text="hi", timeout=5)
    assert h.get((await site.request()).headers, h.DEADLINE) is not None


async def test_with_kafka_away_every_request_is_told_so_at_once(site: Site) -> None:
    site.world.broker.hold_deliveries()
    client = site.connect()
    client.send(type="ask", id="q", text="hi")
    error = (await client.got("error", "q"))["error"]
    assert (error["status"], error["code"]) == (503, "connect")


async def test_with_the_store_away_a_session_can_not_be_resumed_and_asking_goes_on(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def away(*_: object) -> None:
        raise UnreachableError("the store is away")

    monkeypatch.setattr(site.world.store, "get", away)
    client = site.connect()
    client.send(type="resume", session="x" * 43)
    assert (await client.got("error"))["error"]["status"] == 503
    monkeypatch.setattr(site.world.store, "put", away)
    client.send(type="ask", id="q", text="hi")
    await client.got("accepted", "q")
