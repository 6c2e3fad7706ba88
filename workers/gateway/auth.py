"""Who a client is: by API key, by token, by certificate; or anybody, where the topology names no way to tell."""

import hashlib
import hmac
import secrets
from collections.abc import Mapping
from dataclasses import dataclass
from typing import NamedTuple

from workers.core.topology.gateway import Gateway
from workers.core.topology.tenants import Tenant
from workers.gateway.refusals import unauthenticated
from workers.gateway.tokens import Tokens

KEY_PREFIX = "rfk_"
_LONGEST = 8192


@dataclass(frozen=True, slots=True)
class Credentials:
    """What a client shows: the values of two headers, the common name of its certificate; and where it comes from."""

    peer: str
    authorization: str | None = None
    api_key: str | None = None
    certificate: str | None = None


class Identity(NamedTuple):
    """Who it is. `client` is who the limits count for: the tenant, or the address where there are none."""

    tenant: str | None
    client: str


def new_key() -> str:
    """A key with 256 random bits."""
    return KEY_PREFIX + secrets.token_urlsafe(32)


def hash_of(key: str) -> str:
    """What the topology says instead of the key. A key has bits enough that no slow hash is needed."""
    return f"sha256:{hashlib.sha256(key.encode('utf-8', 'replace')).hexdigest()}"


class Authenticator:
    """Knows the tenants of one topology."""

    def __init__(self, settings: Gateway, tenants: Mapping[str, Tenant], tokens: Tokens | None) -> None:
        """`tokens` checks bearer tokens, where the topology lets them in."""
        self._tokens = tokens
        self._challenge = "show an API key or a token as `Authorization: Bearer …`"
        self.follow(tenants)

    def follow(self, tenants: Mapping[str, Tenant]) -> None:
        """Know these tenants from now on."""
        self._keys = [(hashed.encode(), name) for name, tenant in tenants.items() for hashed in tenant.keys]
        self._certificates = {
            certificate: name for name, tenant in tenants.items() for certificate in tenant.certificates
        }
        self._tenants = frozenset(tenants)
        self.required = bool(self._keys or self._certificates or self._tokens is not None)

    async def identify(self, shown: Credentials) -> Identity:
        """Who shows this. Raises `RefusalError` (401) for nobody whom we know."""
        if not self.required:
            return Identity(None, shown.peer)
        tenant = self._by_certificate(shown) or await self._by_secret(shown)
        return Identity(tenant, f"tenant:{tenant}")

    def _by_certificate(self, shown: Credentials) -> str | None:
        return self._certificates.get(shown.certificate) if shown.certificate is not None else None

    async def _by_secret(self, shown: Credentials) -> str:
        secret = shown.api_key or _bearer(shown.authorization)
        if not secret:
            raise unauthenticated(self._challenge)
        if len(secret) > _LONGEST:
            raise unauthenticated("the credentials are too long to be any of ours")
        if self._tokens is not None and not secret.startswith(KEY_PREFIX) and shown.api_key is None:
            return self._known(await self._tokens.tenant_of(secret))
        return self._by_key(secret)

    def _by_key(self, secret: str) -> str:
        """Every hash is compared, and each in the same time: how long it takes tells nothing about a key."""
        shown = hash_of(secret).encode()
        found: str | None = None
        for hashed, tenant in self._keys:
            if hmac.compare_digest(hashed, shown):
                found = tenant
        if found is None:
            raise unauthenticated("the API key is none of ours")
        return found

    def _known(self, tenant: str) -> str:
        """Where the topology has tenants, a token must name one of them."""
        if self._tenants and tenant not in self._tenants:
            raise unauthenticated("the token names no tenant of ours")
        return tenant


def _bearer(authorization: str | None) -> str | None:
    scheme, _, secret = (authorization or "").partition(" ")
    return secret.strip() if scheme.lower() == "bearer" else None
