"""`POST /api/forward` and `GET /api/responses/{id}`: ask, wait for an answer or get an id, come back for it."""

import asyncio
import re
from collections.abc import Mapping
from http import HTTPStatus
from typing import Any, NamedTuple
from urllib.parse import quote

import orjson
from starlette.requests import Request
from starlette.responses import Response as HttpResponse
from starlette.routing import Route

from workers.gateway.auth import Identity
from workers.gateway.front import Parts, header
from workers.gateway.http_body import CLIENT_GONE, gone, read_json
from workers.gateway.http_events import EVENT_STREAM, EventStream
from workers.gateway.http_exchange import Incoming, JsonAnswer
from workers.gateway.problems import problem_of_reply
from workers.gateway.question import Question
from workers.gateway.refusals import invalid, malformed, not_found
from workers.gateway.relay import Pending, Reply
from workers.gateway.waiting import Alarm

FORWARD = "/api/forward"
RESPONSES = "/api/responses/"
REQUEST_ID = "relayfleet.request_id"
"""The key of a scope that holds the id of the request."""

_ENVELOPE = ("message_id", "source", "timestamp", "tenant")
_WAIT = re.compile(r"wait\s*=\s*\"?(\d{1,6}(?:\.\d{1,3})?)\"?", re.IGNORECASE)
_ASYNC = re.compile(r"\brespond-async\b", re.IGNORECASE)
_COME_AGAIN = "1"  # seconds
_UNWATCHED = 0.5  # seconds in which a client that goes away is not noticed
_NO_QUERY: Mapping[str, str] = {}


class Wish(NamedTuple):
    """What `Prefer` asks for: seconds to wait, and how that is said back."""

    wait: float
    applied: str | None


class Forward:
    """Both endpoints."""

    def __init__(self, parts: Parts) -> None:
        self._parts = parts
        self._relay = parts.relay
        self._settings = parts.settings
        self._unwatched = Alarm(_UNWATCHED)
        self._no_wish = Wish(self._settings.wait, None)

    def routes(self) -> list[Route]:
        """Where they are."""
        return [
            Route(FORWARD, self._routed, methods=["POST"]),
            Route(RESPONSES + "{message_id:path}", self.response, methods=["GET"]),
        ]

    async def forward(self, incoming: Incoming) -> HttpResponse:
        """Ask."""
        scope = incoming.scope
        identity = await self._parts.identify(scope)
        body = await read_json(incoming, self._settings.limits, self._settings.idle)
        wish = self._wish(header(scope, b"prefer") or "")
        question = _question(incoming, body, identity)
        pending = await self._relay.submit(question)
        if question.stream:
            return EventStream(self._relay, pending, wish.wait, scope[REQUEST_ID])
        try:
            reply, stayed = await self._wait(incoming, pending, wish.wait)
            if reply is None:
                await self._relay.leave(pending)
                if not stayed:
                    return HttpResponse(status_code=CLIENT_GONE)
                return _later(pending.message_id, wish.applied)
        finally:
            pending.cancel()
        return _answered(reply, pending, wish.applied, scope[REQUEST_ID])

    async def response(self, request: Request) -> HttpResponse:
        """Come back for an answer. An outcome that was found is 200, also where it is an error."""
        identity = await self._parts.identify(request.scope)
        message_id = request.path_params["message_id"]
        state = await self._relay.look(identity.tenant, message_id)
        if state is None:
            raise not_found("nothing is known under this id: it was never asked here, or too long ago")
        if state.reply is None:
            return _later(message_id, None)
        return HttpResponse(state.reply.value, media_type="application/json")

    async def _routed(self, request: Request) -> HttpResponse:
        return await self.forward(Incoming(request.scope, request.receive))

    async def _wait(self, incoming: Incoming, pending: Pending, seconds: float) -> tuple[Reply | None, bool]:
        """The reply, where it comes in time, and whether the client is still there: nobody's wait must keep a place.

        Most answers come before it is worth a task to look after the client.
        """
        if seconds <= _UNWATCHED:
            return await pending.wait(seconds), True
        if (reply := await pending.wait(self._unwatched)) is not None:
            return reply, True
        leaving = asyncio.ensure_future(gone(incoming))
        leaving.add_done_callback(lambda _: pending.give_up())
        try:
            return await pending.wait(seconds - _UNWATCHED), not leaving.done()
        finally:
            leaving.cancel()

    def _wish(self, prefer: str) -> Wish:
        if not prefer:
            return self._no_wish
        if _ASYNC.search(prefer) and not _WAIT.search(prefer):
            return Wish(0.0, "respond-async")
        asked = _WAIT.search(prefer)
        if asked is None:
            return self._no_wish
        wait = min(float(asked[1]), self._settings.longest_wait)
        return Wish(wait, f"wait={wait:g}")


def _question(incoming: Incoming, body: dict[str, Any], identity: Identity) -> Question:
    fields = _envelope(body)
    scope = incoming.scope
    key = header(scope, b"idempotency-key")
    if key is not None:
        key = key.strip().removeprefix('"').removesuffix('"')
        if fields.get("message_id") not in (None, key):
            raise invalid("Idempotency-Key and message_id differ; one of them is enough")
        if not key:
            raise malformed("Idempotency-Key is empty")
        fields["message_id"] = key
    query: Mapping[str, str] = incoming.query if scope["query_string"] else _NO_QUERY
    return Question(
        fields,
        identity.client,
        identity.tenant,
        stream=_wants_stream(query, header(scope, b"accept") or ""),
        target=query.get("target"),
        traceparent=header(scope, b"traceparent"),
        tracestate=header(scope, b"tracestate"),
        cache_control=header(scope, b"cache-control"),
    )


def _envelope(body: dict[str, Any]) -> dict[str, Any]:
    """A whole envelope as it is; anything else is what belongs into its payload."""
    if "payload" in body:
        return body
    fields = {name: body[name] for name in _ENVELOPE if name in body}
    fields["payload"] = {name: value for name, value in body.items() if name not in _ENVELOPE}
    return fields


def _wants_stream(query: Mapping[str, str], accept: str) -> bool:
    said = query.get("stream", "").lower()
    if said not in ("", "true", "false", "1", "0"):
        raise malformed("stream: true or false")
    return said in ("true", "1") or (not said and EVENT_STREAM in accept.lower())


def _answered(reply: Reply, pending: Pending, applied: str | None, request_id: str) -> HttpResponse:
    if orjson.loads(reply.value).get("status") != "ok":
        return problem_of_reply(reply, request_id)
    headers = [(b"content-location", location(pending.message_id).encode())]
    if applied is not None:
        headers.append((b"preference-applied", applied.encode()))
    return JsonAnswer(reply.value, headers)


def _later(message_id: str, applied: str | None) -> HttpResponse:
    where = location(message_id)
    headers = {"Location": where, "Retry-After": _COME_AGAIN}
    if applied is not None:
        headers["Preference-Applied"] = applied
    body = orjson.dumps({"message_id": message_id, "status": "pending", "location": where})
    return HttpResponse(body, HTTPStatus.ACCEPTED, headers, "application/json")


def location(message_id: str) -> str:
    """Where the answer of a message is found."""
    return RESPONSES + quote(message_id, safe="")
