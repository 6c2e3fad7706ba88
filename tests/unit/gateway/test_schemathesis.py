"""The description of the HTTP interface and the interface itself agree, whatever is sent."""

import asyncio
import threading
from collections.abc import Iterator
from typing import Any

import pytest
import schemathesis
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from schemathesis.checks import CHECKS
from starlette.types import ASGIApp, Receive, Scope, Send

from tests.unit.gateway.world import World
from workers.core.topology.gateway import Gateway
from workers.gateway.app import build_app
from workers.gateway.auth import Authenticator
from workers.gateway.front import Parts
from workers.gateway.openapi import description

schemathesis.checks.load_all_checks()
EXAMPLES = 30
# Targets, lengths and ids that came before are nothing that a schema can tell.
NOT_IN_A_SCHEMA = {"positive_data_acceptance"}


class OwnLoop:
    """The application on an event loop of its own: the tool brings another one for every request."""

    def __init__(self) -> None:
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)
        self._thread.start()
        self._app, self._world = self._run(self._open())

    async def _open(self) -> tuple[ASGIApp, World]:
        world = await World(settings=Gateway(confirm=1, wait=0.001, longest_wait=0.001)).start()
        authenticator = Authenticator(world.settings, {}, None)
        parts = Parts(world.relay, authenticator, world.settings, world.metrics, world.clock)
        return build_app(parts), world

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """See ASGI."""
        if scope["type"] == "lifespan":
            return
        body = b""
        while True:
            message = await receive()
            body += message.get("body", b"")
            if not message.get("more_body"):
                break
        sent: list[Any] = []

        unread = [body]

        async def receive_all() -> dict[str, Any]:
            if not unread:
                await asyncio.Event().wait()  # as a server does whose client stays
            return {"type": "http.request", "body": unread.pop(), "more_body": False}

        async def keep(message: Any) -> None:
            sent.append(message)

        await asyncio.wrap_future(
            asyncio.run_coroutine_threadsafe(self._app(scope, receive_all, keep), self._loop)
        )
        for message in sent:
            await send(message)

    def close(self) -> None:
        """Stop."""
        self._run(self._world.stop())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    def _run(self, work: Any) -> Any:
        return asyncio.run_coroutine_threadsafe(work, self._loop).result(30)


@pytest.fixture(scope="module")
def app() -> Iterator[OwnLoop]:
    opened = OwnLoop()
    yield opened
    opened.close()


OPERATIONS = [(method, path) for path, methods in description()["paths"].items() for method in methods]


@pytest.mark.parametrize(("method", "path"), OPERATIONS)
def test_nothing_that_is_sent_is_answered_in_a_way_that_is_not_described(
    app: OwnLoop, method: str, path: str
) -> None:
    operation = schemathesis.openapi.from_asgi("/openapi.json", app)[path][method]
    modes = list(schemathesis.GenerationMode)

    @settings(max_examples=EXAMPLES, deadline=None, database=None, suppress_health_check=list(HealthCheck))
    @given(st.one_of(*(operation.as_strategy(generation_mode=mode) for mode in modes)))
    def holds(case: schemathesis.Case[Any]) -> None:
        case.call_and_validate(checks=checks())

    holds()


def test_the_events_of_a_stream_are_described_too(app: OwnLoop) -> None:
    operation = schemathesis.openapi.from_asgi("/openapi.json", app)["/api/forward"]["post"]
    case = operation.Case(query={"stream": "true"}, body={"text": "hello"}, media_type="application/json")
    response = case.call_and_validate(checks=checks())
    assert response.text.startswith("event: pending")


def checks() -> list[Any]:
    """What is looked at in every answer."""
    return [check for check in CHECKS.get_all() if check.__name__ not in NOT_IN_A_SCHEMA]
