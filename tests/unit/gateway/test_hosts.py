"""A page whose name is made to point at this machine gets nothing from a gateway that lets everybody in."""

from typing import Any

import httpx
import pytest

from tests.unit.gateway.world import World
from workers.core.topology.tenants import Tenant
from workers.gateway.app import build_app
from workers.gateway.auth import Authenticator, hash_of
from workers.gateway.front import Parts
from workers.gateway.hosts import Hosts
from workers.gateway.websocket_front import WebSocketFront
from workers.gateway.websocket_sessions import Sessions

KEYS = {"acme": Tenant(keys=(hash_of("rfk_key"),))}


def app(listening: str, more: tuple[str, ...] = (), tenants: dict[str, Tenant] | None = None) -> Any:
    world = World()
    authenticator = Authenticator(world.settings, tenants or {}, None)
    parts = Parts(world.relay, authenticator, world.settings, world.metrics, world.clock)
    routes = WebSocketFront(parts, Sessions(world.store)).routes()
    return build_app(parts, routes, Hosts(listening, more, authenticator))


async def status(served: Any, host: str) -> int:
    """Of the page at `/`, asked for under this name."""
    async with httpx.AsyncClient(transport=httpx.ASGITransport(served), base_url="http://any") as client:
        response = await client.get("/openapi.json", headers={"Host": host})
    if response.status_code == 421:
        assert response.headers["content-type"] == "application/problem+json"
    return response.status_code


@pytest.mark.parametrize(
    ("host", "expected"),
    [
        ("localhost:8080", 200),
        ("LocalHost.", 200),
        ("127.0.0.1:8080", 200),
        ("127.0.0.2", 200),
        ("[::1]:8080", 200),
        ("my.example:80", 200),
        ("evil.example:8080", 421),
        ("localhost.evil.example", 421),
        ("127.0.0.1.evil.example", 421),
        ("[::2]:8080", 421),
        ("", 421),
    ],
)
async def test_a_gateway_on_loopback_is_called_by_its_own_names_alone(host: str, expected: int) -> None:
    assert await status(app("127.0.0.2", ("My.example",)), host) == expected


async def test_whoever_must_show_something_or_listens_to_others_may_be_called_anything() -> None:
    assert await status(app("127.0.0.1", tenants=KEYS), "evil.example") == 200
    assert await status(app("0.0.0.0"), "gateway.internal") == 200  # noqa: S104 - nobody listens
    assert await status(app("::1"), "[::1]:1") == 200


async def test_names_that_were_given_hold_for_every_gateway() -> None:
    named = app("0.0.0.0", ("gateway.example",), KEYS)  # noqa: S104 - nobody listens
    assert (await status(named, "gateway.example"), await status(named, "evil.example")) == (200, 421)


async def test_no_websocket_is_opened_by_a_page_that_calls_us_by_its_own_name() -> None:
    sent: list[Any] = []

    async def send(message: Any) -> None:
        sent.append(message)

    async def receive() -> Any:
        return {"type": "websocket.connect"}

    scope = {
        "type": "websocket",
        "path": "/ws",
        "raw_path": b"/ws",
        "query_string": b"",
        "headers": [(b"host", b"evil.example"), (b"origin", b"http://evil.example")],
        "subprotocols": [],
        "client": ("127.0.0.1", 1),
        "extensions": {"websocket.http.response": {}},
    }
    await app("127.0.0.1")(scope, receive, send)
    assert sent[0]["type"] == "websocket.http.response.start"
    assert sent[0]["status"] == 421
