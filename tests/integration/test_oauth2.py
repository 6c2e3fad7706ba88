"""Tokens of OAuth 2 from a service on a real socket: fetched once, renewed in time, told to nobody."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
from aiohttp import web
from pydantic import SecretStr

from schemas.envelope import Payload, Request
from schemas.errors import ErrorClass
from tests.backs import Back, http_service
from tests.contract.backend_targets import http_target
from workers.backends.http import HttpBackend
from workers.backends.oauth2 import TokenSource
from workers.core.clock import ManualClock, SystemClock
from workers.core.errors import MessageError
from workers.core.ports import Call
from workers.core.topology.protocols import OAuth2

CALL = Call(Request(message_id="m1", source="t", payload=Payload(text="hello"), timestamp=1), 60.0)


class TokenService:
    """A token endpoint; `life` is told as expires_in."""

    def __init__(self) -> None:
        self.asked: list[dict[str, str]] = []
        self.life: int | None = 100
        self.status = 200
        self.basic = ""

    async def handle(self, request: web.Request) -> web.Response:
        form = await request.post()
        self.asked.append({name: str(value) for name, value in form.items()})
        self.basic = request.headers.get("authorization", "")
        body = {"access_token": f"token-{len(self.asked)}", "token_type": "Bearer", "expires_in": self.life}
        return web.json_response(body if self.status == 200 else {"error": "CANARY"}, status=self.status)


@asynccontextmanager
async def token_service() -> AsyncIterator[tuple[TokenService, OAuth2]]:
    service = TokenService()
    app = web.Application()
    app.router.add_post("/token", service.handle)
    runner = web.AppRunner(app, shutdown_timeout=0)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    try:
        yield (
            service,
            OAuth2(
                token_url=f"http://127.0.0.1:{runner.addresses[0][1]}/token",
                client_id="us",
                client_secret=SecretStr("CANARY/1"),
                scope="ask",
            ),
        )
    finally:
        await runner.cleanup()


async def test_one_token_serves_all_calls_and_is_renewed_before_it_expires() -> None:
    clock = ManualClock()
    async with token_service() as (service, settings):
        tokens = TokenSource(settings, clock)
        assert set(await asyncio.gather(*(tokens.token(60) for _ in range(20)))) == {"token-1"}
        clock.advance(79)
        assert await tokens.token(60) == "token-1"
        clock.advance(2)
        assert await tokens.token(60) == "token-2"
        tokens.refused("token-1")
        assert await tokens.token(60) == "token-2"
        tokens.refused("token-2")
        assert await tokens.token(60) == "token-3"
        await tokens.close()
    assert service.asked[0] == {"grant_type": "client_credentials", "scope": "ask"}
    assert service.basic == "Basic dXM6Q0FOQVJZJTJGMQ=="


async def test_credentials_go_into_the_body_where_the_service_wants_them_there() -> None:
    async with token_service() as (service, settings):
        tokens = TokenSource(
            settings.model_copy(update={"credentials": "body", "audience": "a"}), ManualClock()
        )
        await tokens.token(60)
        await tokens.close()
    assert service.asked[0]["client_secret"] == "CANARY/1"
    assert service.asked[0]["audience"] == "a"
    assert service.basic == ""


async def test_who_gives_up_waiting_takes_the_token_from_nobody() -> None:
    async with token_service() as (service, settings):
        tokens = TokenSource(settings, ManualClock())
        first = asyncio.create_task(tokens.token(60))
        await asyncio.sleep(0)
        second = asyncio.create_task(tokens.token(60))
        await asyncio.sleep(0)
        first.cancel()
        assert await second == "token-1"
        await tokens.close()
    assert len(service.asked) == 1


@pytest.mark.parametrize(
    ("status", "error_class"),
    [(400, ErrorClass.AUTH), (401, ErrorClass.AUTH), (404, ErrorClass.AUTH), (500, ErrorClass.UPSTREAM_5XX)],
)
async def test_without_a_token_the_call_fails_and_says_no_secret(
    status: int, error_class: ErrorClass
) -> None:
    async with token_service() as (service, settings):
        service.status = status
        tokens = TokenSource(settings, ManualClock())
        with pytest.raises(MessageError) as caught:
            await tokens.token(60)
        assert caught.value.error_class is error_class
        assert "CANARY" not in str(caught.value)
        service.status = 200
        assert await tokens.token(60) == "token-2"
        await tokens.close()


async def test_a_token_that_the_backend_refuses_is_not_used_again() -> None:
    back = Back()
    async with token_service() as (_, settings), http_service(back) as url:
        target = http_target(url, instances=[{"url": url}])
        tokens = TokenSource(settings, SystemClock())
        backend = HttpBackend(target.instances[0], target, SystemClock(), tokens)
        back.do, back.fail = "fail", ErrorClass.AUTH
        with pytest.raises(MessageError):
            await backend.call(CALL)
        back.do = "answer"
        await backend.call(CALL)
        await backend.call(CALL)
        await backend.close()
    assert [one["authorization"] for one in back.headers] == [
        "Bearer token-1",
        "Bearer token-2",
        "Bearer token-2",
    ]
