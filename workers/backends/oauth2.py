"""OAuth 2 client credentials: one token for all calls of a target, fetched once and renewed before it expires."""

import asyncio
import base64
from urllib.parse import quote, urlencode, urlsplit

import orjson

from schemas.errors import ErrorClass
from workers.backends.http_client import HttpClient, HttpPolicy
from workers.backends.http_errors import failure, status_class
from workers.backends.instances import name_of
from workers.core.clock import Clock
from workers.core.topology.protocols import OAuth2

USUAL_LIFE = 300.0
"""Seconds that a token is believed in whose answer does not say how long it lives."""

_FETCH_SECONDS = 30.0
_MARGIN = 30.0  # seconds before its end from which on a token is renewed, and a fifth of a short life
_MAX_ANSWER = 64 * 1024


class TokenSource:
    """Gives the token. Everybody who needs a new one waits for the same request."""

    def __init__(self, settings: OAuth2, clock: Clock) -> None:
        address = urlsplit(settings.token_url)
        self._name = f"the token endpoint {name_of(address)}"
        self._path = (address.path or "/") + (f"?{address.query}" if address.query else "")
        self._headers, self._body = _request(settings)
        self._client = HttpClient(self._name, address, (), HttpPolicy(connections=1, max_body=_MAX_ANSWER))
        self._clock = clock
        self._token: str | None = None
        self._renew_at = 0.0
        self._fetching: asyncio.Task[str] | None = None

    async def token(self, seconds: float) -> str:
        """A token that is valid now. Raises `MessageError` where there is none within so many seconds."""
        if self._token is not None and self._clock.monotonic() < self._renew_at:
            return self._token
        if self._fetching is None:
            self._fetching = asyncio.create_task(self._fetch())
            self._fetching.add_done_callback(self._fetched)
        try:
            async with asyncio.timeout(seconds):
                # Who gives up must not take the token from the others who wait for it.
                return await asyncio.shield(self._fetching)
        except TimeoutError as error:
            raise failure(ErrorClass.TIMEOUT, f"{self._name} did not answer in time") from error

    def refused(self, token: str) -> None:
        """A backend does not take this token: the next call fetches another."""
        if token == self._token:
            self._token = None

    async def close(self) -> None:
        """Let go of the connection. Idempotent."""
        if self._fetching is not None:
            self._fetching.cancel()
        await self._client.close()

    async def _fetch(self) -> str:
        response = await self._client.request(
            "POST", self._path, self._headers, self._body, seconds=_FETCH_SECONDS
        )
        if response.status != 200:
            # 400 is how the RFC says that the client is not known.
            error_class = ErrorClass.AUTH if response.status == 400 else status_class(response.status)
            error_class = ErrorClass.AUTH if error_class is ErrorClass.UPSTREAM_4XX else error_class
            raise failure(error_class, f"{self._name} answered {response.status}", status=response.status)
        token, life = self._read(response.body)
        self._token = token
        self._renew_at = self._clock.monotonic() + life - min(_MARGIN, life / 5)
        return token

    def _read(self, body: bytes) -> tuple[str, float]:
        try:
            answer = orjson.loads(body)
            token, life = answer["access_token"], answer.get("expires_in", USUAL_LIFE)
            usable = isinstance(token, str) and token.isascii() and token.isprintable() and " " not in token
            if usable and token and float(life) > 0:
                return token, float(life)
        except (orjson.JSONDecodeError, LookupError, TypeError, ValueError, AttributeError):
            pass
        raise failure(ErrorClass.UPSTREAM_5XX, f"{self._name} sent no token")

    def _fetched(self, task: asyncio.Task[str]) -> None:
        self._fetching = None
        if not task.cancelled():
            task.exception()  # told to whoever waited; nobody may be left


def _request(settings: OAuth2) -> tuple[list[tuple[str, str]], bytes]:
    secret = settings.client_secret.get_secret_value()
    fields = {"grant_type": "client_credentials"}
    headers = [("content-type", "application/x-www-form-urlencoded"), ("accept", "application/json")]
    if settings.scope is not None:
        fields["scope"] = settings.scope
    if settings.audience is not None:
        fields["audience"] = settings.audience
    if settings.credentials == "body":
        fields |= {"client_id": settings.client_id, "client_secret": secret}
    else:
        pair = f"{quote(settings.client_id, safe='')}:{quote(secret, safe='')}"
        headers.append(("authorization", f"Basic {base64.b64encode(pair.encode()).decode()}"))
    return headers, urlencode(fields).encode()
