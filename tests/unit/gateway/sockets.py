"""Clients of `/ws` over the in-memory broker."""

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager, suppress
from typing import Any

import orjson

from tests.support import eventually
from tests.unit.gateway.world import World, joined
from workers.core.topology.gateway import Gateway
from workers.core.topology.tenants import Tenant
from workers.core.topology.websocket import WebSockets
from workers.gateway.app import build_app
from workers.gateway.auth import Authenticator
from workers.gateway.front import Parts
from workers.gateway.websocket_front import WebSocketFront
from workers.gateway.websocket_sessions import Sessions


class Client:
    """The other end of one WebSocket."""

    def __init__(self, app: Any, headers: Mapping[str, str], subprotocols: list[str]) -> None:
        self._scope = {
            "type": "websocket",
            "path": "/ws",
            "raw_path": b"/ws",
            "query_string": b"",
            "headers": [
                (name.encode(), value.encode()) for name, value in {"host": "gateway", **headers}.items()
            ],
            "subprotocols": subprotocols,
            "client": ("127.0.0.1", 1),
            "extensions": {"websocket.http.response": {}},
        }
        self._incoming: asyncio.Queue[dict[str, Any]] = asyncio.Queue()
        self.sent: list[dict[str, Any]] = []
        self.frames: list[dict[str, Any]] = []
        self.taking = asyncio.Event()
        self.taking.set()
        self._incoming.put_nowait({"type": "websocket.connect"})
        self.task = asyncio.create_task(app(self._scope, self._incoming.get, self._take))

    async def _take(self, message: dict[str, Any]) -> None:
        await self.taking.wait()
        self.sent.append(message)
        if message["type"] == "websocket.send":
            self.frames.append(orjson.loads(message["text"]))

    def send(self, **frame: Any) -> None:
        """Send a frame."""
        self.send_text(orjson.dumps(frame).decode())

    def send_text(self, text: str) -> None:
        """Send whatever it is."""
        self._incoming.put_nowait({"type": "websocket.receive", "text": text})

    def send_bytes(self, data: bytes) -> None:
        """Send a frame that is no text."""
        self._incoming.put_nowait({"type": "websocket.receive", "bytes": data})

    def of(self, kind: str, name: str | None = None) -> list[dict[str, Any]]:
        """The frames of a type, for one request where it is named."""
        return [one for one in self.frames if one["type"] == kind and (name is None or one.get("id") == name)]

    async def got(self, kind: str, name: str | None = None) -> dict[str, Any]:
        """The first frame of a type, when it has come."""
        await eventually(lambda: self.of(kind, name))
        return self.of(kind, name)[0]

    async def leave(self) -> None:
        """Close."""
        self._incoming.put_nowait({"type": "websocket.disconnect", "code": 1000})
        await self.task

    @property
    def closed(self) -> int | None:
        """The code with which the gateway closed."""
        return next((one["code"] for one in self.sent if one["type"] == "websocket.close"), None)

    @property
    def status(self) -> int | None:
        """The status of a connection that was refused."""
        return next(
            (one["status"] for one in self.sent if one["type"] == "websocket.http.response.start"), None
        )


class Site:
    """A gateway's WebSockets in memory."""

    def __init__(self, world: World, tenants: dict[str, Tenant]) -> None:
        self.world = world
        self.clients: list[Client] = []
        authenticator = Authenticator(world.settings, tenants, None)
        parts = Parts(world.relay, authenticator, world.settings, world.metrics, world.clock)
        self._app = build_app(parts, WebSocketFront(parts, Sessions(world.store)).routes())

    def connect(self, *subprotocols: str, **headers: str) -> Client:
        """One more client."""
        self.clients.append(Client(self._app, headers, list(subprotocols)))
        return self.clients[-1]

    async def request(self, number: int = 0) -> Any:
        """A request that has reached the broker, in the order of their partitions."""
        await eventually(lambda: len(self.world.requests()) > number)
        return self.world.requests()[number]


@asynccontextmanager
async def opened(world: World, tenants: dict[str, Tenant] | None = None) -> AsyncIterator[Site]:
    """A site whose gateway has joined its group."""
    site = Site(world, tenants or {})
    async with joined(world):
        try:
            yield site
        finally:
            for client in site.clients:
                client.taking.set()
                client.task.cancel()
                with suppress(asyncio.CancelledError):
                    await client.task


def bounded(**values: Any) -> World:
    """A world with these bounds of WebSockets."""
    return World(settings=Gateway(confirm=0.05, websocket=WebSockets(**values)))
