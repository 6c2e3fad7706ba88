"""The OpenAI backend on real sockets: what it sends, and what it does with what servers really do."""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import orjson
import pytest
from pydantic import SecretStr

from schemas.envelope import Payload, Request
from schemas.errors import ErrorClass
from workers.backends.instances import MAX_ANSWER
from workers.backends.openai import OpenAIBackend
from workers.core.clock import ManualClock
from workers.core.errors import MessageError, UsageError
from workers.core.ports import Call
from workers.core.topology.model import Instance, OpenAITarget
from workers.local.stub_http import HttpConnection
from workers.local.stub_model import Faults, StubModel, let_go, serving

OK = b'{"choices": [{"message": {"content": "hi"}, "finish_reason": "stop"}]}'


def call(message_id: str = "m1", traceparent: str | None = None) -> Call:
    request = Request(message_id=message_id, source="t", payload=Payload(text="PROMPT"), timestamp=1)
    return Call(request, 60.0, traceparent)


def backend(url: str, **settings: Any) -> OpenAIBackend:
    instance = Instance(url=url, **settings)
    return OpenAIBackend(instance, OpenAITarget(type="openai", instances=(instance,)), ManualClock())


@asynccontextmanager
async def opened(url: str, **settings: Any) -> AsyncIterator[OpenAIBackend]:
    one = backend(url, **settings)
    try:
        yield one
    finally:
        await one.close()


@asynccontextmanager
async def server(reply: bytes) -> AsyncIterator[tuple[str, list[bytes]]]:
    """Sends `reply` to every request and closes; gives its base URL and the requests as they came."""
    requests: list[bytes] = []
    writers: list[asyncio.StreamWriter] = []

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writers.append(writer)
        head = await reader.readuntil(b"\r\n\r\n")
        length = int(
            next(line for line in head.lower().split(b"\r\n") if b"content-length" in line).split(b":")[1]
        )
        requests.append(head + await reader.readexactly(length))
        writer.write(reply)
        await writer.drain()
        writer.close()

    async with await asyncio.start_server(serve, "127.0.0.1", 0) as listening:
        yield f"http://127.0.0.1:{listening.sockets[0].getsockname()[1]}/v1", requests
        for writer in writers:
            writer.close()
            with contextlib.suppress(OSError):
                await writer.wait_closed()


def http(status: str, body: bytes, *headers: str) -> bytes:
    lines = [f"HTTP/1.1 {status}", f"content-length: {len(body)}", *headers, "", ""]
    return "\r\n".join(lines).encode() + body


async def failure(reply: bytes) -> MessageError:
    async with server(reply) as (url, _), opened(url) as one:
        with pytest.raises(MessageError) as caught:
            await one.call(call())
    return caught.value


async def test_the_request_carries_key_ids_and_trace() -> None:
    trace = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"
    async with server(http("200 OK", OK)) as (url, requests), opened(url, api_key=SecretStr("sk-1")) as one:
        await one.call(call("req_12345", trace))
    head, _, body = requests[0].partition(b"\r\n\r\n")
    lines = head.lower().split(b"\r\n")
    assert head.startswith(b"POST /v1/chat/completions HTTP/1.1")
    assert b"authorization: bearer sk-1" in lines
    assert b"x-request-id: req_12345" in lines
    assert b"idempotency-key: req_12345" in lines
    assert b"traceparent: " + trace.encode() in lines
    assert b"content-type: application/json" in lines
    assert orjson.loads(body)["messages"] == [{"role": "user", "content": "PROMPT"}]


@pytest.mark.parametrize("message_id", ["a\r\nx-evil: 1", "订单 1", "a b", "\ud800"])
async def test_an_odd_message_id_injects_nothing_and_is_answered(message_id: str) -> None:
    async with server(http("200 OK", OK)) as (url, requests), opened(url) as one:
        answer = await one.call(Call(_unchecked(message_id), 60.0, "bad\r\ntrace: 1"))
    assert answer.text == "hi"
    head = requests[0].partition(b"\r\n\r\n")[0].lower()
    names = {line.partition(b":")[0] for line in head.split(b"\r\n")[1:]}
    assert not names & {b"x-evil", b"trace", b"traceparent"}
    assert b"x-request-id" in names


def _unchecked(message_id: str) -> Request:
    return Request.model_construct(
        message_id=message_id, source="t", payload=Payload(text="x"), timestamp=1.0
    )


async def test_a_query_in_the_address_stays_behind_the_path() -> None:
    async with server(http("200 OK", OK)) as (url, requests), opened(f"{url}/?api-version=1") as one:
        await one.call(call())
    assert requests[0].startswith(b"POST /v1/chat/completions?api-version=1 HTTP/1.1")


async def test_retry_after_as_a_date_is_seconds_from_now() -> None:
    error = await failure(http("429 Too Many Requests", b"{}", "retry-after: Tue, 14 Nov 2023 22:14:20 GMT"))
    assert error.error_class is ErrorClass.RATE_LIMITED
    assert error.retry_after == 60.0  # the manual clock starts at 22:13:20


async def test_a_redirect_is_not_followed() -> None:
    async with server(http("200 OK", OK)) as (elsewhere, asked):
        error = await failure(http("307 Temporary Redirect", b"", f"location: {elsewhere}"))
    assert (error.error_class, error.status) == (ErrorClass.UPSTREAM_5XX, 307)
    assert asked == []


async def test_a_proxy_in_the_environment_gets_no_prompt(monkeypatch: pytest.MonkeyPatch) -> None:
    async with server(http("200 OK", OK)) as (proxy, proxied):
        for name in ("http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"):
            monkeypatch.setenv(name, proxy.removesuffix("/v1"))
        monkeypatch.delenv("no_proxy", raising=False)
        monkeypatch.delenv("NO_PROXY", raising=False)
        async with server(http("200 OK", OK)) as (url, requests), opened(url) as one:
            await one.call(call())
    assert (len(requests), len(proxied)) == (1, 0)


async def test_an_answer_without_end_is_cut_off() -> None:
    stub = StubModel(Faults(answer_bytes=MAX_ANSWER + 1))
    async with serving(stub) as url, opened(url) as one:
        with pytest.raises(MessageError, match="more than 10 MiB") as caught:
            await one.call(call())
    assert caught.value.error_class is ErrorClass.UPSTREAM_5XX


@pytest.mark.parametrize(
    ("reply", "error_class"),
    [
        (b"", ErrorClass.CONNECT),
        (b"HTTP/1.1 200 OK\r\ncontent-length: 500\r\n\r\n{", ErrorClass.CONNECT),
        (b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n5\r\nab", ErrorClass.CONNECT),
        (b"SSH-2.0-OpenSSH_9.6\r\n", ErrorClass.UPSTREAM_5XX),
        (http("200 OK", b"abc", "content-encoding: gzip"), ErrorClass.UPSTREAM_5XX),
        (http("204 No Content", b""), ErrorClass.UPSTREAM_5XX),
    ],
)
async def test_a_server_that_breaks_the_protocol_is_worth_another_attempt(
    reply: bytes, error_class: ErrorClass
) -> None:
    assert (await failure(reply)).error_class is error_class


async def test_a_name_that_does_not_resolve_is_a_connection_failure() -> None:
    async with opened("http://no-such-host.invalid:1/v1") as one:
        with pytest.raises(MessageError) as caught:
            await one.call(call())
    assert caught.value.error_class is ErrorClass.CONNECT


async def test_the_stub_counts_the_calls_of_the_backend_by_message() -> None:
    stub = StubModel()
    async with serving(stub) as url, opened(url) as one:
        for message_id in ("a", "b", "a"):
            await one.call(call(message_id))
    assert stub.calls.report()["paid_twice"] == {"a": 2}


async def test_connections_are_kept_for_the_next_call() -> None:
    made: list[HttpConnection] = []
    connected: set[HttpConnection] = set()
    stub = StubModel()

    def connection() -> HttpConnection:
        made.append(HttpConnection(stub.handle, connected))
        return made[-1]

    listening = await asyncio.get_running_loop().create_server(connection, "127.0.0.1", 0)
    async with listening, opened(f"http://127.0.0.1:{listening.sockets[0].getsockname()[1]}/v1") as one:
        for _ in range(5):
            await one.call(call())
    await let_go(connected)
    assert len(made) == 1


@pytest.mark.parametrize(
    ("url", "key", "says"),
    [
        ("ftp://host/v1", None, "not an instance's URL"),
        ("host:8080", None, "not an instance's URL"),
        ("http://user:sk-CANARY@host/v1", None, "holds credentials"),
        ("http://host/v1", "sk-CANARY\n", "api_key"),
    ],
)
def test_settings_that_could_never_work_are_refused_without_showing_secrets(
    url: str, key: str | None, says: str
) -> None:
    with pytest.raises(UsageError, match=says) as caught:
        backend(url, api_key=SecretStr(key) if key is not None else None)
    assert "CANARY" not in str(caught.value)


def test_instances_that_differ_in_their_path_have_names_that_differ() -> None:
    assert backend("http://host:1/v1").name == "host:1"
    assert backend("http://host:1/other/v1").name == "host:1/other/v1"
