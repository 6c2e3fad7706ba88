"""Services that answer JSON messages on WebSocket connections: few connections, many requests on each, told apart by id."""

import asyncio
import itertools
import ssl
from collections.abc import Mapping
from typing import Any

import jsonpath

from schemas.errors import ErrorClass
from workers.backends.extract import Extractor, Pieces
from workers.backends.fill import Filling, dumps, envelope_of
from workers.backends.http_errors import failure
from workers.backends.instances import address_of, bearer, name_of
from workers.backends.websocket_link import Link, Place
from workers.core.errors import UsageError
from workers.core.ports import Answer, Call
from workers.core.topology.instances import Instance, Tls
from workers.core.topology.model import WebSocketTarget


class WebSocketBackend:
    """One instance of a `websocket` target. See `core.ports.Backend`.

    A call goes to the connection with the fewest on it. The id of a request is ours, so that a late answer to an
    earlier attempt is not taken for the next one's. Redirects are not followed and proxies of the environment not used.
    """

    def __init__(self, instance: Instance, target: WebSocketTarget) -> None:
        """Raises `UsageError` for settings that could never work."""
        address = address_of(instance.url, ("ws", "wss"), "ws://HOST:PORT/PATH")
        self._name = name_of(address)
        self._body = Filling("body", target.body)
        self._add = target.stream.add if target.stream is not None else {}
        self._streams = target.stream is not None
        self._extractor = Extractor(self._name, target.answer, target.stream)
        self._id_field = target.request_id
        self._reply_id = _compiled(target.reply_id)
        self._numbers = itertools.count(1)
        place = Place(
            self._name,
            instance.url,
            _headers(target, bearer(instance, self._name)),
            target.subprotocol,
            _context(target.tls) if address.scheme == "wss" else None,
        )
        self._links = [Link(place, self._read) for _ in range(target.connections)]

    @property
    def name(self) -> str:
        """See `Backend`."""
        return self._name

    async def call(self, call: Call) -> Answer:
        """See `Backend`."""
        number = str(next(self._numbers))
        message = self._message(call, number)
        answers: list[Answer] = []
        pieces = Pieces(self._extractor, call.sink) if self._streams and call.sink is not None else None

        def take(body: Any) -> bool:
            answer = self._extractor.answer(body) if pieces is None else pieces.take(body)
            if answer is not None:
                answers.append(answer)
            return answer is not None

        link = min(self._links, key=lambda one: one.calls)
        try:
            async with asyncio.timeout(call.timeout):
                await link.ask(number, message, take)
        except TimeoutError as error:
            raise failure(ErrorClass.TIMEOUT, f"{self._name} did not answer in time") from error
        return answers[0]

    async def close(self) -> None:
        """See `Backend`. Calls under way fail as `connect`."""
        await asyncio.gather(*(link.close() for link in self._links))

    def _message(self, call: Call, number: str) -> str:
        body = self._body.render(envelope_of(call.request))
        added = self._add if call.sink is not None else {}
        return dumps({**body, **added, self._id_field: number}).decode()

    def _read(self, message: str | bytes) -> tuple[str | None, Any]:
        body = self._extractor.load(message)
        try:
            found = self._reply_id.findall(body)
        except jsonpath.JSONPathError:
            found = []
        return (str(found[0]) if found and isinstance(found[0], str | int) else None), body


def _headers(target: WebSocketTarget, more: list[tuple[str, str]]) -> Mapping[str, str]:
    secret = {name: value.get_secret_value() for name, value in target.secret_headers.items()}
    return {**target.headers, **secret, **dict(more)}


def _compiled(path: str) -> jsonpath.JSONPath:
    try:
        compiled = jsonpath.compile(path)
    except jsonpath.JSONPathError as error:
        raise UsageError(f"reply_id is not a JSONPath: {error}") from error
    if not isinstance(compiled, jsonpath.JSONPath):
        raise UsageError("reply_id is several JSONPaths; write one")
    return compiled


def _context(tls: Tls) -> ssl.SSLContext:
    try:
        context = ssl.create_default_context(cafile=tls.ca_file)
        if tls.certificate_file is not None:
            context.load_cert_chain(tls.certificate_file, tls.key_file)
    except (OSError, ssl.SSLError) as error:
        raise UsageError(f"the files of `tls` can't be used: {type(error).__name__}") from error
    return context
