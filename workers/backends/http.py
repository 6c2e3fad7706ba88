"""Any HTTP interface: a request put together from the envelope, an answer taken out by JSONPath."""

import asyncio
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any
from urllib.parse import quote

from schemas.errors import ErrorClass
from workers.backends.extract import Extractor, Pieces
from workers.backends.fill import Envelope, Filling, TextFilling, dumps, envelope_of
from workers.backends.http_begun import tell_answer
from workers.backends.http_client import HttpClient, HttpPolicy, HttpResponse, HttpStream
from workers.backends.http_errors import failure, retry_after
from workers.backends.instances import MAX_ANSWER, address_of, bearer, connections_of, ids, name_of
from workers.backends.oauth2 import TokenSource
from workers.backends.server_sent import EventReader
from workers.core.clock import Clock
from workers.core.errors import MessageError, UsageError
from workers.core.ports import Answer, Call, Told
from workers.core.topology.instances import Instance
from workers.core.topology.model import HttpTarget
from workers.core.topology.protocols import StreamPaths

LONGEST_PASSED = 4096
"""Bytes of a record's header that are passed on; what is longer is left out."""

Fields = list[tuple[str, str]]


class HttpBackend:
    """One instance of an `http` target. See `core.ports.Backend`.

    Redirects are not followed and proxies of the environment not used. Of the record's headers those alone go along
    that the topology names.
    """

    def __init__(
        self, instance: Instance, target: HttpTarget, clock: Clock, tokens: TokenSource | None = None
    ) -> None:
        """`tokens` where the target has `oauth2`. Raises `UsageError` for settings that could never work."""
        address = address_of(instance.url, ("http", "https"), "http://HOST:PORT/PATH")
        self._name = name_of(address)
        self._address = _Address(address.path, target)
        self._method = target.method
        self._body = None if target.method == "GET" else Filling("body", target.body)
        self._passed = frozenset(name.lower() for name in target.pass_headers)
        self._extractor = Extractor(self._name, target.answer, target.stream)
        self._stream = target.stream
        self._tokens = tokens
        self._clock = clock
        headers = [*_headers(target), *bearer(instance, self._name)]
        policy = HttpPolicy(connections=connections_of(instance), max_body=MAX_ANSWER)
        self._client = HttpClient(self._name, address, headers, policy)

    @property
    def name(self) -> str:
        """See `Backend`."""
        return self._name

    async def call(self, call: Call) -> Answer:
        """See `Backend`. `call.timeout` bounds everything, the fetching of a token included."""
        stream = self._stream if call.sink is not None else None
        path, headers, body = self._request(call, stream)
        until = asyncio.get_running_loop().time() + call.timeout
        token = None
        if self._tokens is not None:
            token = await self._tokens.token(call.timeout)
            headers.append(("authorization", f"Bearer {token}"))
        left = max(0.0, until - asyncio.get_running_loop().time())
        try:
            if stream is not None:
                return await self._streamed(call, path, headers, body, left)
            response = await self._client.request(self._method, path, headers, body, seconds=left)
            return self._whole(response)
        except MessageError as error:
            if token is not None and error.error_class is ErrorClass.AUTH and self._tokens is not None:
                self._tokens.refused(token)
            raise

    def begin(self, call: Call, told: Told) -> Callable[[], None] | None:
        """See `PromptBackend`."""
        if call.sink is not None or self._tokens is not None:
            return None
        path, headers, body = self._request(call, None)
        tell = partial(tell_answer, self._whole, told)
        return self._client.begin(self._method, path, headers, body, seconds=call.timeout, told=tell)

    async def close(self) -> None:
        """See `Backend`. Calls under way fail as `connect`."""
        await self._client.close()
        if self._tokens is not None:
            await self._tokens.close()

    async def _streamed(self, call: Call, path: str, headers: Fields, body: bytes, seconds: float) -> Answer:
        async with self._client.stream(
            self._method, path, [*headers, ("accept", "text/event-stream")], body, seconds=seconds
        ) as response:
            events = (response.header("content-type") or "").startswith("text/event-stream")
            if not events or not 200 <= response.status < 300:
                return self._answer(response, await response.read())
            return await self._pieces(call, response)

    async def _pieces(self, call: Call, response: HttpStream) -> Answer:
        reader, pieces, last, read = EventReader(), Pieces(self._extractor, call.sink), None, 0
        async for data in response:
            read += len(data)
            if read > MAX_ANSWER:
                raise failure(
                    ErrorClass.UPSTREAM_5XX, f"{self._name} sent more than {MAX_ANSWER // 1024**2} MiB"
                )
            for event in reader.feed(data):
                if event == b"[DONE]":
                    return pieces.finish(last)
                last = self._extractor.load(event, response.status)
                if (answer := pieces.take(last)) is not None:
                    return answer
        if (self._stream is not None and self._stream.done is not None) or not pieces.begun:
            raise failure(ErrorClass.CONNECT, f"{self._name} broke off its answer", status=response.status)
        return pieces.finish(last)

    def _request(self, call: Call, stream: StreamPaths | None) -> tuple[str, Fields, bytes]:
        """Its target, its own headers and its body."""
        envelope = envelope_of(call.request)
        path, body = self._address.render(envelope), self._rendered(envelope, stream)
        return path, [*ids(call), *self._passed_on(call)], body

    def _whole(self, response: HttpResponse) -> Answer:
        return self._answer(response, response.body)

    def _answer(self, response: HttpResponse | HttpStream, body: bytes) -> Answer:
        if 200 <= response.status < 300:
            return self._extractor.parse(body, response.status)
        wait = retry_after(response.header, self._clock.wall())
        raise self._extractor.refusal(response.status, body, wait)

    def _rendered(self, envelope: Envelope, stream: StreamPaths | None) -> bytes:
        if self._body is None:
            return b""
        body = self._body.render(envelope)
        return dumps({**body, **stream.add} if stream is not None and isinstance(body, Mapping) else body)

    def _passed_on(self, call: Call) -> Fields:
        if not self._passed:
            return []
        found = {name.lower(): value for name, value in call.headers if name.lower() in self._passed}
        texts = {
            name: (value or b"")[: LONGEST_PASSED + 1].decode("latin-1") for name, value in found.items()
        }
        return [
            (name, text)
            for name, text in texts.items()
            if text.isascii() and text.isprintable() and len(text) <= LONGEST_PASSED
        ]


class _Address:
    """The path and query of a request."""

    def __init__(self, base: str, target: HttpTarget) -> None:
        self._base = quote(base.rstrip("/"), safe="/%:@!$&'()*+,;=~-._")
        self._path = TextFilling("path", target.path)
        self._query = {name: Filling(f"query.{name}", value) for name, value in target.query.items()}

    def render(self, envelope: Envelope) -> str:
        """The request's target."""
        path = (self._base + self._path.render(envelope)) or "/"
        pairs = [(name, filling.render(envelope)) for name, filling in self._query.items()]
        query = "&".join(
            f"{quote(name, safe='')}={_value(value)}" for name, value in pairs if value is not None
        )
        return f"{path}?{query}" if query else path


def _value(value: Any) -> str:
    text = value if isinstance(value, str) else dumps(value).decode()
    return quote(text, safe="", errors="replace")


def _headers(target: HttpTarget) -> Fields:
    given = dict(target.headers) | {
        name: secret.get_secret_value() for name, secret in target.secret_headers.items()
    }
    for name, value in given.items():
        if not (value.isascii() and value.isprintable()):
            raise UsageError(f"the header {name} holds a character that no header can carry")
    if target.method != "GET":
        given = {"content-type": "application/json", **given}
    return list(given.items())
