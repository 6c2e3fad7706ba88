"""`/v1`: what an existing OpenAI program needs to take part, answered by the fleet."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from http import HTTPStatus
from typing import Any, TypeVar

import orjson
from starlette.requests import Request
from starlette.responses import Response as HttpResponse
from starlette.responses import StreamingResponse
from starlette.routing import Route

from schemas.response import Response
from workers.core.deadlines import Deadline
from workers.gateway import openai_errors
from workers.gateway.auth import Identity
from workers.gateway.front import Parts
from workers.gateway.http_body import CLIENT_GONE, gone, read_json
from workers.gateway.http_exchange import Incoming
from workers.gateway.openai_answers import Told, completion
from workers.gateway.openai_errors import OpenAIError
from workers.gateway.openai_questions import Asked, read
from workers.gateway.question import Question
from workers.gateway.refusals import RefusalError
from workers.gateway.relay import Pending

COMPLETIONS = "/v1/chat/completions"
MODELS = "/v1/models"
EVENT_STREAM = "text/event-stream"

_HEADERS = {"Cache-Control": "no-store", "X-Accel-Buffering": "no"}
_PATIENCE = (
    10.0  # seconds in which an error still has a status of its own, before the stream begins without any
)
_SILENCE = 15.0  # seconds after which a comment keeps the connection open
_COMMENT = b": waiting\n\n"
_DONE = b"data: [DONE]\n\n"
_GRACE = 2.0  # seconds in which the fleet says that the deadline has passed

T = TypeVar("T")
Handler = Callable[[Request], Awaitable[HttpResponse]]


class OpenAIFront:
    """The endpoints. `parameters` are those that may be passed on to a model."""

    def __init__(self, parts: Parts, parameters: frozenset[str]) -> None:
        self._parts = parts
        self._relay = parts.relay
        self._parameters = parameters

    def routes(self) -> list[Route]:
        """Where they are."""
        return [
            Route(COMPLETIONS, self._told(self._complete), methods=["POST"]),
            Route(MODELS, self._told(self._models), methods=["GET"]),
            Route(MODELS + "/{model:path}", self._told(self._model), methods=["GET"]),
        ]

    async def _complete(self, request: Request) -> HttpResponse:
        identity = await self._parts.identify(request.scope)
        body = await read_json(
            Incoming(request.scope, request.receive), self._parts.settings.limits, self._parts.settings.idle
        )
        asked = read(body, self._relay.allowed(identity.tenant), self._parameters)
        deadline = Deadline.after(self._parts.settings.longest_wait, self._parts.clock)
        pending = await self._relay.submit(_question(request, asked, identity, deadline))
        created = int(self._parts.clock.wall())
        if asked.stream:
            return await self._stream(pending, asked, created, deadline)
        try:
            return await _unless_gone(request, self._whole(pending, asked, created, deadline))
        finally:
            pending.cancel()

    async def _whole(self, pending: Pending, asked: Asked, created: int, deadline: Deadline) -> HttpResponse:
        return _json(completion(await _answer(pending, deadline), asked.model, created))

    async def _stream(self, pending: Pending, asked: Asked, created: int, deadline: Deadline) -> HttpResponse:
        """A stream that begins with its first event, or an error with its status where there is one soon."""
        events = Events(pending, Told(pending.message_id, asked.model, created, usage=asked.usage), deadline)
        try:
            first = await events.first()
        except BaseException:
            await events.close()
            raise
        return StreamingResponse(events.all(first), media_type=EVENT_STREAM, headers=dict(_HEADERS))

    async def _models(self, request: Request) -> HttpResponse:
        identity = await self._parts.identify(request.scope)
        names = sorted(self._relay.allowed(identity.tenant))
        return _json({"object": "list", "data": [_model(name) for name in names]})

    async def _model(self, request: Request) -> HttpResponse:
        identity = await self._parts.identify(request.scope)
        name = request.path_params["model"]
        if name not in self._relay.allowed(identity.tenant):
            said = f"there is no model {name[:100]!r} for you; {MODELS} lists those there are"
            raise OpenAIError(HTTPStatus.NOT_FOUND, said, "model_not_found", param="model")
        return _json(_model(name))

    def _told(self, handle: Handler) -> Handler:
        """The handler, with every error in OpenAI's form."""

        async def handler(request: Request) -> HttpResponse:
            try:
                return await handle(request)
            except OpenAIError as error:
                return error.response()
            except RefusalError as refusal:
                return openai_errors.of_refusal(refusal).response()

        return handler


class Events:
    """The events of one answer as they come. Closing it gives the request back."""

    def __init__(self, pending: Pending, told: Told, deadline: Deadline) -> None:
        self._pending = pending
        self._told = told
        self._deadline = deadline
        self._pieces = pending.chunks()
        self._coming = asyncio.ensure_future(anext(self._pieces, None))
        self._silence = _PATIENCE
        self._events = self._each()

    async def first(self) -> bytes:
        """The first event, or a comment where it takes long. Raises `OpenAIError` and `RefusalError`, which still have a status."""
        first = await anext(self._events, b"")
        self._silence = _SILENCE
        return first

    async def all(self, first: bytes) -> AsyncIterator[bytes]:
        """All events, errors among them."""
        try:
            yield first
            async for event in self._events:
                yield event
            yield _DONE
        except OpenAIError as error:
            yield _event(error.body)
        except RefusalError as refusal:
            yield _event(openai_errors.of_refusal(refusal).body)
        finally:
            await self.close()

    async def close(self) -> None:
        """Nobody listens any more."""
        self._coming.cancel()
        self._pending.cancel()

    async def _each(self) -> AsyncIterator[bytes]:
        while True:
            left = self._deadline.remaining() + _GRACE
            done, _ = await asyncio.wait({self._coming}, timeout=min(self._silence, left))
            if not done and left <= self._silence:
                raise openai_errors.too_late(self._pending.message_id)
            if not done:
                yield _COMMENT
                continue
            chunk = self._coming.result()
            if chunk is None:
                break
            self._coming = asyncio.ensure_future(anext(self._pieces, None))
            if data := b"".join(map(_event, self._told.chunk(chunk))):
                yield data
        for event in self._told.rest(await _answer(self._pending, self._deadline)):
            yield _event(event)


async def _answer(pending: Pending, deadline: Deadline) -> Response:
    """The answer. Raises `OpenAIError` where there is none."""
    response = await pending.answer(deadline.remaining() + _GRACE)
    if response is None:
        raise openai_errors.too_late(pending.message_id)
    if response.status != "ok":
        raise openai_errors.of_response(response)
    return response


def _question(request: Request, asked: Asked, identity: Identity, deadline: Deadline) -> Question:
    fields = dict(asked.fields)
    if key := request.headers.get("idempotency-key", "").strip().strip('"'):
        fields["message_id"] = key
    return Question(
        fields,
        identity.client,
        identity.tenant,
        deadline=deadline,
        stream=asked.stream,
        target=asked.target,
        traceparent=request.headers.get("traceparent"),
        tracestate=request.headers.get("tracestate"),
        cache_control=request.headers.get("cache-control"),
    )


async def _unless_gone(request: Request, answering: Awaitable[HttpResponse]) -> HttpResponse:
    """The answer, unless the client goes away before."""
    answer = asyncio.ensure_future(answering)
    leaving = asyncio.ensure_future(gone(Incoming(request.scope, request.receive)))
    try:
        await asyncio.wait({answer, leaving}, return_when=asyncio.FIRST_COMPLETED)
        return answer.result() if answer.done() else HttpResponse(status_code=CLIENT_GONE)
    finally:
        answer.cancel()
        leaving.cancel()


def _model(name: str) -> dict[str, Any]:
    return {"id": name, "object": "model", "created": 0, "owned_by": "relayfleet"}


def _json(body: Any) -> HttpResponse:
    return HttpResponse(orjson.dumps(body), media_type="application/json")


def _event(body: Any) -> bytes:
    return b"data: " + orjson.dumps(body) + b"\n\n"
