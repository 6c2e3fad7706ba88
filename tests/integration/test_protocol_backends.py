"""What each protocol's backend sends, and how it keeps its connections, on real sockets."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import grpc
import pytest

from schemas.envelope import Message, Payload, Request
from schemas.errors import ErrorClass
from tests.backs import TEXT, Back, grpc_service, http_service, kafka_service, led, websocket_service
from tests.contract.backend_targets import SECRET, grpc_target, http_target, kafka_target, websocket_target
from tests.support import create_topic, eventually, unique
from workers.assembly import open_pair
from workers.backends.grpc import CODES, GrpcBackend
from workers.backends.http import HttpBackend
from workers.backends.kafka import KafkaBackend
from workers.backends.websocket import WebSocketBackend
from workers.core.clock import SystemClock
from workers.core.errors import MessageError
from workers.core.ports import Backend, Call
from workers.core.topology.model import HttpTarget

TRACE = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"


def call(message_id: str = "m1", timeout: float = 60.0, **payload: Any) -> Call:
    request = Request(
        message_id=message_id, source="t", payload=Payload(**{"text": "hello", **payload}), timestamp=1
    )
    headers = (("Accept-Language", b"zh"), ("X-Secret", b"no"), ("X-Odd", b"a\r\nb"))
    return Call(request, timeout, TRACE, None, headers)


@asynccontextmanager
async def opened(backend: Backend) -> AsyncIterator[Backend]:
    try:
        yield backend
    finally:
        await backend.close()


def http(target: HttpTarget) -> HttpBackend:
    return HttpBackend(target.instances[0], target, SystemClock())


async def test_http_sends_what_the_topology_says_and_nothing_else() -> None:
    back = Back()
    async with http_service(back) as url:
        target = http_target(
            f"{url}/base/",
            method="PUT",
            path="/items/{payload.context.id}",
            query={"lang": "{payload.context.lang}", "gone": "{payload.user_id?}"},
            headers={"X-Static": "s"},
            secret_headers={"X-Key": "k-1"},
            pass_headers=["accept-language", "x-odd"],
            body={"q": "{payload.text}", "all": "{payload.context}"},
        )
        async with opened(http(target)) as backend:
            answer = await backend.call(call("订单", context={"id": "a/../b?x", "lang": "z h"}))
    assert answer.text == TEXT
    assert (answer.model, answer.usage and answer.usage.total_tokens) == ("behind-1", 7)
    [asked], [headers] = back.seen, back.headers
    assert asked["method"] == "PUT"
    assert asked["path"] == "/base/items/a%2F..%2Fb%3Fx?lang=z%20h"
    assert asked["body"] == {"q": "hello", "all": {"id": "a/../b?x", "lang": "z h"}}
    assert headers["authorization"] == f"Bearer {SECRET}"
    assert (headers["x-static"], headers["x-key"], headers["accept-language"]) == ("s", "k-1", "zh")
    assert headers["idempotency-key"] == "%E8%AE%A2%E5%8D%95"
    assert headers["traceparent"] == TRACE
    assert not {"x-secret", "x-odd"} & headers.keys()


async def test_http_get_has_no_body() -> None:
    back = Back()
    async with http_service(back) as url:
        target = http_target(
            url, method="GET", path="/find", query={"q": "{payload.text}"}, body="{envelope}"
        )
        async with opened(http(target)) as backend:
            await backend.call(call(text="a&b=c"))
    [asked] = back.seen
    assert (asked["method"], asked["path"], asked["body"]) == ("GET", "/find?q=a%26b%3Dc", {})
    assert "content-type" not in back.headers[0]


async def test_a_proxy_in_the_environment_gets_no_prompt(monkeypatch: pytest.MonkeyPatch) -> None:
    proxy, back = Back(), Back()
    async with http_service(proxy) as place:
        for name in (
            "http_proxy",
            "HTTP_PROXY",
            "all_proxy",
            "ALL_PROXY",
            "grpc_proxy",
            "https_proxy",
            "ws_proxy",
        ):
            monkeypatch.setenv(name, place)
        for name in ("no_proxy", "NO_PROXY", "no_grpc_proxy"):
            monkeypatch.delenv(name, raising=False)
        async with http_service(back) as url, opened(http(http_target(url))) as backend:
            await backend.call(call())
        async with websocket_service(back) as url:
            target = websocket_target(url)
            async with opened(WebSocketBackend(target.instances[0], target)) as backend:
                await backend.call(call())
        async with grpc_service(back) as (url, _):
            router = grpc_target(url)
            async with opened(GrpcBackend(router.instances[0], router)) as backend:
                await backend.call(call())
    assert (len(back.seen), len(proxy.seen)) == (3, 0)


# -- WebSocket -------------------------------------------------------------------------------------------------------


async def test_many_requests_share_a_websocket_and_a_lost_one_is_opened_again() -> None:
    back = Back()
    async with websocket_service(back) as url:
        target = websocket_target(url, connections=2, headers={"X-Static": "s"})
        async with opened(WebSocketBackend(target.instances[0], target)) as backend:
            await asyncio.gather(*(backend.call(call()) for _ in range(50)))
            assert back.connections == 2
            back.do = "break"
            results = await asyncio.gather(*(backend.call(call()) for _ in range(4)), return_exceptions=True)
            assert {getattr(each, "error_class", None) for each in results} == {ErrorClass.CONNECT}
            back.do = "answer"
            await asyncio.gather(*(backend.call(call()) for _ in range(4)))
    assert back.connections == 4
    assert back.headers[0]["authorization"] == f"Bearer {SECRET}"
    assert back.headers[0]["x-static"] == "s"
    assert len({asked["id"] for asked in back.seen}) == len(back.seen)


async def test_a_late_answer_is_not_taken_for_the_next_ones() -> None:
    back = Back()
    async with websocket_service(back) as url:
        target = websocket_target(url, connections=1)
        async with opened(WebSocketBackend(target.instances[0], target)) as backend:
            await backend.call(call())
            back.do = "late"
            with pytest.raises(MessageError):
                await backend.call(call(timeout=0.1))
            await eventually(lambda: back.late)
            back.do = "answer"
            assert (await backend.call(call())).text == TEXT
    assert back.connections == 1


@pytest.mark.parametrize(
    ("code", "error_class"),
    [
        (1001, ErrorClass.CONNECT),
        (1008, ErrorClass.AUTH),
        (1011, ErrorClass.UPSTREAM_5XX),
        (1012, ErrorClass.CONNECT),
        (1013, ErrorClass.OVERLOADED),
        (3000, ErrorClass.AUTH),
        (3008, ErrorClass.TIMEOUT),
        (4321, ErrorClass.UPSTREAM_5XX),
    ],
)
async def test_the_code_of_a_close_has_a_class(code: int, error_class: ErrorClass) -> None:
    back = Back(do="close", close_code=code)
    async with websocket_service(back) as url:
        target = websocket_target(url)
        async with opened(WebSocketBackend(target.instances[0], target)) as backend:
            with pytest.raises(MessageError) as caught:
                await backend.call(call())
    assert caught.value.error_class is error_class


# -- gRPC ------------------------------------------------------------------------------------------------------------


async def test_grpc_sends_what_the_interface_has_and_the_rest_in_the_context() -> None:
    back = Back()
    async with grpc_service(back) as (url, _):
        target = grpc_target(url, metadata={"x-static": "s"}, secret_metadata={"x-key": "k-1"})
        async with opened(GrpcBackend(target.instances[0], target)) as backend:
            messages = [Message(role="user", content="before"), Message(role="user", content="last")]
            await backend.call(
                call(text=None, messages=messages, user_id="u", session_id="s", context={"a": "b", "n": [1]})
            )
    [asked], [headers] = back.seen, back.headers
    assert (asked.user_id, asked.session_id, asked.input_text) == ("u", "s", "last")
    assert asked.context["a"] == "b"
    assert asked.context["n"] == "[1]"
    assert '"before"' in asked.context["messages"]
    assert headers["authorization"] == f"Bearer {SECRET}"
    assert (headers["x-static"], headers["x-key"], headers["idempotency-key"]) == ("s", "k-1", "m1")


async def test_a_server_learns_of_the_deadline_and_of_a_call_given_up() -> None:
    back = Back(do="hang")
    async with grpc_service(back) as (url, _):
        target = grpc_target(url)
        async with opened(GrpcBackend(target.instances[0], target)) as backend:
            while not back.seen:  # a deadline may pass before the server has even been reached
                with pytest.raises(MessageError):
                    await backend.call(call("brief", timeout=0.2))
            await eventually(lambda: back.cancelled == len(back.seen))
            task = asyncio.create_task(backend.call(call("given up")))
            await eventually(lambda: any(one["idempotency-key"] == "given%20up" for one in back.headers))
            assert back.cancelled < len(back.seen)
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
            await eventually(lambda: back.cancelled == len(back.seen))


async def test_every_status_of_grpc_has_a_class() -> None:
    assert CODES.keys() == set(grpc.StatusCode) - {grpc.StatusCode.OK}


# -- Kafka -----------------------------------------------------------------------------------------------------------


async def test_kafka_answers_are_matched_by_header_and_strangers_are_passed_over(kafka: str) -> None:
    back = Back()
    requests, responses = (create_topic(kafka, unique(name), 2) for name in ("asked", "answered"))
    await eventually(lambda: led(kafka, requests) and led(kafka, responses))
    target = kafka_target(kafka, requests, responses, body={"id": "{message_id}"}, concurrency=20)
    with kafka_service(back, kafka, requests, responses):
        one, other = KafkaBackend(target, open_pair), KafkaBackend(target, open_pair)
        async with opened(one), opened(other):
            calls = [backend.call(call(f"m{number}")) for number in range(20) for backend in (one, other)]
            answers = await asyncio.gather(*calls)
            assert {answer.text for answer in answers} == {TEXT}
            back.do = "hang"
            held = [asyncio.create_task(one.call(call())) for _ in range(20)]
            await eventually(lambda: len(back.seen) == 60, 30)
            with pytest.raises(MessageError) as caught:
                await one.call(call())
            assert caught.value.error_class is ErrorClass.OVERLOADED
            for task in held:
                task.cancel()
            await asyncio.wait(held)
    assert sorted(asked["id"] for asked in back.seen[:40]) == sorted(f"m{n}" for n in range(20) for _ in "ab")
