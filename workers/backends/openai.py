"""Chat completions of an OpenAI-compatible server: one client, and so one connection pool, an instance."""

import re
from collections.abc import Mapping
from typing import Any
from urllib.parse import SplitResult, quote, urlsplit

from workers.backends import openai_request, openai_response
from workers.backends.http_client import HttpClient, HttpPolicy, HttpResponse, HttpStream
from workers.backends.http_errors import retry_after
from workers.backends.openai_stream import StreamedAnswer
from workers.core.clock import Clock
from workers.core.errors import MessageError, UsageError
from workers.core.ports import Answer, Call, Sink
from workers.core.topology.model import Instance, OpenAITarget

MAX_ANSWER = 10 * 1024 * 1024
"""Bytes of a response that are read; what is larger is no answer anybody could publish."""

ADAPTIVE_CONNECTIONS = 1024
"""Connections at most to an instance whose concurrency is found out while it runs."""

_HEADER_SAFE = re.compile(r"[\x21-\x7e]+")
_QUERY_SAFE = "/?%:@!$&'()*+,;=~-._"
_TRACEPARENT = re.compile(r"[0-9a-f]{2}-[0-9a-f]{32}-[0-9a-f]{16}-[0-9a-f]{2}")


class OpenAIBackend:
    """One instance of an `openai` target. See `core.ports.Backend`.

    The message's id goes along as `x-request-id` and `idempotency-key`, percent-encoded where a header could not hold
    it. An abandoned call closes its connection.
    """

    def __init__(self, instance: Instance, target: OpenAITarget, clock: Clock) -> None:
        """Raises `UsageError` for an address, key or parameter that could never work."""
        openai_request.check_parameters(target.parameters)
        address = _address(instance.url)
        self._name = _name(address)
        self._path = _target(address)
        self._model = target.model
        self._parameters: Mapping[str, Any] = target.parameters
        self._clock = clock
        self._client = _client(address, self._name, instance)

    @property
    def name(self) -> str:
        """See `Backend`."""
        return self._name

    async def call(self, call: Call) -> Answer:
        """See `Backend`. `call.timeout` bounds everything, from waiting for a connection to the last byte."""
        if call.sink is not None:
            return await self._streamed(call, call.sink)
        body = openai_request.render(call.request.payload, self._model, self._parameters)
        response = await self._client.request("POST", self._path, _ids(call), body, seconds=call.timeout)
        if 200 <= response.status < 300:
            return openai_response.parse(self._name, response.status, response.body)
        raise self._refusal(response, response.body)

    async def _streamed(self, call: Call, sink: Sink) -> Answer:
        body = openai_request.render(call.request.payload, self._model, self._parameters, stream=True)
        async with self._client.stream(
            "POST", self._path, _ids(call), body, seconds=call.timeout
        ) as response:
            if not 200 <= response.status < 300:
                raise self._refusal(response, await response.read())
            if not (response.header("content-type") or "").startswith("text/event-stream"):
                return openai_response.parse(self._name, response.status, await response.read())
            answer = StreamedAnswer(self._name, response.status, sink, MAX_ANSWER)
            async for piece in response:
                answer.feed(piece)
            return answer.finish()

    async def close(self) -> None:
        """See `Backend`. Calls under way fail as `connect`."""
        await self._client.close()

    def _refusal(self, response: HttpResponse | HttpStream, body: bytes) -> MessageError:
        wait = retry_after(response.header, self._clock.wall())
        return openai_response.refusal(self._name, response.status, body, wait)


def _ids(call: Call) -> list[tuple[str, str]]:
    message_id = call.request.message_id
    if not _HEADER_SAFE.fullmatch(message_id):
        message_id = quote(message_id, safe="", errors="replace")
    headers = [("x-request-id", message_id), ("idempotency-key", message_id)]
    if call.traceparent is not None and _TRACEPARENT.fullmatch(call.traceparent):
        headers.append(("traceparent", call.traceparent))
    return headers


def _address(url: str) -> SplitResult:
    address = urlsplit(url)
    if address.scheme not in {"http", "https"} or not address.hostname:
        raise UsageError(f"{_masked(address)!r} is not an instance's URL; write http://HOST:PORT/v1")
    if address.username is not None or address.password is not None:
        raise UsageError(f"{_masked(address)!r} holds credentials in its URL; use `api_key` instead")
    return address


def _masked(address: SplitResult) -> str:
    return f"{address.scheme}://{address.netloc.rpartition('@')[2]}{address.path}"


def _name(address: SplitResult) -> str:
    """Host and port; and the path where it is not the usual one, since instances may differ in that alone."""
    path = address.path.rstrip("/")
    return address.netloc + ("" if path in {"", "/v1"} else path)


def _target(address: SplitResult) -> str:
    path = quote(f"{address.path.rstrip('/')}/chat/completions", safe="/%:@!$&'()*+,;=~-._")
    return f"{path}?{quote(address.query, safe=_QUERY_SAFE)}" if address.query else path


def _client(address: SplitResult, name: str, instance: Instance) -> HttpClient:
    headers = [("content-type", "application/json"), ("accept", "application/json")]
    if instance.api_key is not None:
        key = instance.api_key.get_secret_value()
        if not _HEADER_SAFE.fullmatch(key):
            raise UsageError(
                f"the api_key of {name} holds a space, a line end or a letter that no header can carry; check its file"
            )
        headers.append(("authorization", f"Bearer {key}"))
    connections = instance.concurrency if isinstance(instance.concurrency, int) else ADAPTIVE_CONNECTIONS
    return HttpClient(name, address, headers, HttpPolicy(connections=connections, max_body=MAX_ANSWER))
