"""`/ws`: who may open a connection, and how many there are."""

from collections import Counter
from urllib.parse import urlsplit

from starlette.routing import WebSocketRoute
from starlette.websockets import WebSocket

from workers.core import metrics as m
from workers.gateway.app import request_id_of
from workers.gateway.auth import Identity
from workers.gateway.front import Parts
from workers.gateway.problems import problem_of
from workers.gateway.refusals import RefusalError, forbidden, throttled
from workers.gateway.websocket_connection import Connection
from workers.gateway.websocket_sessions import Sessions

PATH = "/ws"
PROTOCOL = "relayfleet"
"""The subprotocol. A web page, which can't set headers, names a second one: `bearer.` and its key or token."""

_BEARER = "bearer."
_SOON = 1.0


class WebSocketFront:
    """Accepts connections."""

    def __init__(self, parts: Parts, sessions: Sessions) -> None:
        self._parts = parts
        self._sessions = sessions
        self._open: Counter[str] = Counter()
        self._gauge = parts.metrics.gauge(m.GATEWAY_WEBSOCKETS)

    def routes(self) -> list[WebSocketRoute]:
        """Where it is."""
        return [WebSocketRoute(PATH, self._serve)]

    async def _serve(self, websocket: WebSocket) -> None:
        try:
            self._check_origin(websocket)
            identity = await self._identify(websocket)
            self._enter(identity)
        except RefusalError as refusal:
            request_id = request_id_of(websocket.headers.get("x-request-id"))
            await websocket.send_denial_response(problem_of(refusal, request_id))
            return
        try:
            named = PROTOCOL in websocket.scope.get("subprotocols", ())
            await websocket.accept(subprotocol=PROTOCOL if named else None)
            await Connection(websocket, self._parts, identity, self._sessions).run()
        finally:
            self._leave(identity)

    async def _identify(self, websocket: WebSocket) -> Identity:
        """By headers; else by the subprotocol that holds the key."""
        shown = next(
            (one for one in websocket.scope.get("subprotocols", ()) if one.startswith(_BEARER)), None
        )
        if shown is not None and "authorization" not in websocket.headers:
            return await self._parts.identify(websocket.scope, f"Bearer {shown.removeprefix(_BEARER)}")
        return await self._parts.identify(websocket.scope)

    def _check_origin(self, websocket: WebSocket) -> None:
        """Any web page may open a WebSocket to any address that its reader reaches: only those that are named may here."""
        origin = websocket.headers.get("origin")
        if origin is None or origin in self._parts.settings.cors.origins:
            return
        if urlsplit(origin).netloc != websocket.headers.get("host"):
            raise forbidden("pages of this origin may not call; gateway.cors.origins names those that may")

    def _enter(self, identity: Identity) -> None:
        if self._open[identity.client] >= self._parts.settings.websocket.per_client:
            raise throttled(f"{self._open[identity.client]} connections of yours are open", _SOON)
        self._open[identity.client] += 1
        self._gauge.inc()

    def _leave(self, identity: Identity) -> None:
        self._gauge.dec()
        self._open[identity.client] -= 1
        if not self._open[identity.client]:
            del self._open[identity.client]
