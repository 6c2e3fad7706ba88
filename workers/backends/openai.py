"""Chat completions of an OpenAI-compatible server, over pyreqwest: one client, and so one connection pool, an instance."""

import asyncio
import re
from collections.abc import Mapping
from datetime import timedelta
from typing import Any
from urllib.parse import SplitResult, quote, urlsplit

from pyreqwest.client import Client, ClientBuilder
from pyreqwest.http import Url
from pyreqwest.request import StreamRequest
from pyreqwest.response import Response

from schemas.errors import ErrorClass
from workers.backends import openai_request, openai_response
from workers.backends.http_errors import failure, retry_after, translate_pyreqwest
from workers.core.clock import Clock
from workers.core.errors import UsageError
from workers.core.ports import Answer, Call
from workers.core.topology.model import Instance, OpenAITarget

MAX_ANSWER = 10 * 1024 * 1024
"""Bytes of a response that are read; what is larger is no answer anybody could publish."""

ADAPTIVE_CONNECTIONS = 1024
"""Connections at most to an instance whose concurrency is found out while it runs."""

CONNECT_TIMEOUT = timedelta(seconds=5)

_SETTLE_SECONDS = 0.05

_HEADER_SAFE = re.compile(r"[\x21-\x7e]+")
_TRACEPARENT = re.compile(r"[0-9a-f]{2}-[0-9a-f]{32}-[0-9a-f]{16}-[0-9a-f]{2}")


class OpenAIBackend:
    """One instance of an `openai` target. See `core.ports.Backend`.

    The message's id goes along as `x-request-id` and `idempotency-key`, percent-encoded where a header could not hold
    it. Redirects are not followed and proxies of the environment not used: the topology alone says where a prompt goes.
    An abandoned call holds its connection until its timeout: the client can't take a request back.
    """

    def __init__(self, instance: Instance, target: OpenAITarget, clock: Clock) -> None:
        """Raises `UsageError` for an address, key or parameter that could never work."""
        openai_request.check_parameters(target.parameters)
        address = _address(instance.url)
        self._name = _name(address)
        self._url = Url(address._replace(path=f"{address.path.rstrip('/')}/chat/completions").geturl())
        self._model = target.model
        self._parameters: Mapping[str, Any] = target.parameters
        self._clock = clock
        self._client = _client(instance, self._name, target.timeout)

    @property
    def name(self) -> str:
        """See `Backend`."""
        return self._name

    async def call(self, call: Call) -> Answer:
        """See `Backend`. `call.timeout` bounds everything, from waiting for a connection to the last byte."""
        body = openai_request.render(call.request.payload, self._model, self._parameters)
        with translate_pyreqwest(self._name):
            async with self._request(call, body) as response:
                data = await self._read(response)
        if 200 <= response.status < 300:
            return openai_response.parse(self._name, response.status, data)
        wait = retry_after(response.get_header, self._clock.wall())
        raise openai_response.refusal(self._name, response.status, data, wait)

    async def close(self) -> None:
        """See `Backend`. Calls under way fail as `connect`."""
        await self._client.close()
        # The client's own thread still lets go of Python objects; an interpreter that ends meanwhile aborts (SIGABRT).
        await asyncio.sleep(_SETTLE_SECONDS)

    def _request(self, call: Call, body: bytes) -> StreamRequest:
        message_id = call.request.message_id
        if not _HEADER_SAFE.fullmatch(message_id):
            message_id = quote(message_id, safe="", errors="replace")
        headers = [("x-request-id", message_id), ("idempotency-key", message_id)]
        if call.traceparent is not None and _TRACEPARENT.fullmatch(call.traceparent):
            headers.append(("traceparent", call.traceparent))
        request = self._client.post(self._url).headers(headers).body_bytes(body)
        return request.timeout(timedelta(seconds=call.timeout)).build_streamed()

    async def _read(self, response: Response) -> bytes:
        chunks: list[bytes] = []
        size = 0
        while (chunk := await response.body_reader.read_chunk()) is not None:
            size += len(chunk)
            if size > MAX_ANSWER:
                raise failure(
                    ErrorClass.UPSTREAM_5XX,
                    f"{self._name} sent more than {MAX_ANSWER // 1024**2} MiB",
                    status=response.status,
                )
            chunks.append(bytes(chunk))
        return chunks[0] if len(chunks) == 1 else b"".join(chunks)


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


def _client(instance: Instance, name: str, timeout: float) -> Client:
    headers = {"content-type": "application/json", "accept": "application/json"}
    if instance.api_key is not None:
        key = instance.api_key.get_secret_value()
        if not _HEADER_SAFE.fullmatch(key):
            raise UsageError(
                f"the api_key of {name} holds a space, a line end or a letter that no header can carry; check its file"
            )
        headers["authorization"] = f"Bearer {key}"
    connections = instance.concurrency if isinstance(instance.concurrency, int) else ADAPTIVE_CONNECTIONS
    return (
        ClientBuilder()
        .no_proxy()
        .follow_redirects(enable=False)
        .referer(enable=False)
        .user_agent("relayfleet")
        .default_headers(headers)
        .connect_timeout(CONNECT_TIMEOUT)
        .max_connections(connections)
        .pool_timeout(timedelta(seconds=timeout))
        .pool_max_idle_per_host(connections)
        .build()
    )
