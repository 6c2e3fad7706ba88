"""Bearer tokens (JWT): signed by a key of the topology's key set, for us, by whom the topology says, and in time."""

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path

import httpx
import jwt
import orjson
import structlog

from workers.core.clock import Clock
from workers.core.errors import UnreachableError, UsageError
from workers.core.topology.gateway import Jwt
from workers.gateway.refusals import unauthenticated, unavailable

log = structlog.get_logger()

_FETCH_SECONDS = 5.0
_MOST_BYTES = 1_000_000
_AGAIN_AFTER = 10.0  # seconds at least between two looks for a key that is not among ours
_LONGEST_TENANT = 100


class Tokens:
    """Checks tokens against a key set, which is read again now and then."""

    def __init__(self, settings: Jwt, read: Callable[[], Awaitable[bytes]], clock: Clock) -> None:
        self._settings = settings
        self._read = read
        self._clock = clock
        self._keys: dict[str | None, jwt.PyJWK] = {}
        self._read_at = -_AGAIN_AFTER
        self._reading = asyncio.Lock()

    async def start(self) -> None:
        """Read the keys. Raises `UsageError` where they can't be read, or are none."""
        try:
            await self._refresh()
        except (UnreachableError, UsageError) as error:
            raise UsageError(f"gateway.jwt.jwks: {error}") from error

    async def tenant_of(self, token: str) -> str:
        """The tenant whom a token names. Raises `RefusalError` (401) for one that is not good."""
        key = await self._key(token)
        settings = self._settings
        try:
            claims = jwt.decode(
                token,
                key,
                algorithms=list(settings.algorithms),
                audience=settings.audience,
                issuer=settings.issuer,
                leeway=settings.leeway,
                options={"require": ["exp", "iss", "aud"]},
            )
        except jwt.PyJWTError as error:
            raise unauthenticated(f"the token is not good: {type(error).__name__}") from error
        tenant = claims.get(settings.tenant_claim)
        if not isinstance(tenant, str) or not 0 < len(tenant) <= _LONGEST_TENANT or not tenant.isprintable():
            raise unauthenticated(f"the token names no tenant in its claim {settings.tenant_claim!r}")
        return tenant

    async def _key(self, token: str) -> jwt.PyJWK:
        try:
            header = jwt.get_unverified_header(token)
        except jwt.PyJWTError as error:
            raise unauthenticated("what was shown is neither a key nor a token of ours") from error
        name = header.get("kid")
        age = self._clock.monotonic() - self._read_at
        if age > self._settings.refresh or (name not in self._keys and age > _AGAIN_AFTER):
            await self._refresh_or_go_on()
        key = self._keys.get(name)
        if key is None and name is None and len(self._keys) == 1:
            key = next(iter(self._keys.values()))
        if key is None:
            raise unauthenticated("the token is signed with no key of ours")
        return key

    async def _refresh_or_go_on(self) -> None:
        """With the keys we have, where there are no newer ones to be had."""
        try:
            await self._refresh()
        except (UnreachableError, UsageError) as error:
            self._read_at = self._clock.monotonic()
            log.warning("token_keys_not_read", error=str(error), so="the ones from before are used")
            if not self._keys:
                raise unavailable("tokens can't be checked at the moment", _AGAIN_AFTER) from error

    async def _refresh(self) -> None:
        async with self._reading:
            keys = _key_set(await self._read())
            self._keys = {key.key_id: key for key in keys.keys}
            self._read_at = self._clock.monotonic()


def reader_of(place: str, directory: Path) -> Callable[[], Awaitable[bytes]]:
    """How the key set of a topology is read: from a file, or from an https address."""

    async def from_file() -> bytes:
        try:
            return await asyncio.to_thread((directory / place).read_bytes)
        except OSError as error:
            raise UsageError(f"{place} can't be read: {error.strerror}") from error

    async def from_address() -> bytes:
        try:
            async with (
                # Neither a redirect nor the environment may say whose keys are trusted.
                httpx.AsyncClient(timeout=_FETCH_SECONDS, trust_env=False, follow_redirects=False) as client,
                client.stream("GET", place) as response,
            ):
                response.raise_for_status()
                body = b""
                async for piece in response.aiter_bytes():
                    body += piece
                    if len(body) > _MOST_BYTES:
                        raise UsageError(f"{place} has more than {_MOST_BYTES:,} bytes")
                return body
        except httpx.HTTPError as error:
            raise UnreachableError(f"{place} can't be fetched ({type(error).__name__})") from error

    return from_address if "://" in place else from_file


def _key_set(body: bytes) -> jwt.PyJWKSet:
    try:
        return jwt.PyJWKSet.from_dict(orjson.loads(body))
    except (orjson.JSONDecodeError, jwt.PyJWTError, TypeError, AttributeError) as error:
        raise UsageError(f"is no set of keys (JWKS): {type(error).__name__}") from error
