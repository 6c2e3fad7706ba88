"""What every front has: the relay, who may come in, the settings; and how a service starts and stops it."""

from dataclasses import dataclass
from typing import Protocol

from starlette.types import Scope

from workers.core.clock import Clock
from workers.core.deadlines import Deadline
from workers.core.metrics import Metrics
from workers.core.topology.gateway import Gateway
from workers.gateway.auth import Authenticator, Credentials, Identity
from workers.gateway.relay import Relay

CERTIFICATE = "relayfleet.certificate"
"""The extension of a scope whose `common_name` is that of the client's certificate."""
_HEADERS = "relayfleet.headers"


def header(scope: Scope, name: bytes) -> str | None:
    """A header of a request, the first of its name, which is in lower case. A tenth of what starlette's own look-up costs."""
    known = scope.get(_HEADERS)
    if known is None:
        known = scope[_HEADERS] = dict(reversed(scope["headers"]))
    value = known.get(name)
    return None if value is None else str(value, "latin-1")


@dataclass(frozen=True, slots=True)
class Parts:
    """What a front is made of."""

    relay: Relay
    authenticator: Authenticator
    settings: Gateway
    metrics: Metrics
    clock: Clock

    async def identify(self, scope: Scope, authorization: str | None = None) -> Identity:
        """Who makes a request over HTTP or opens a WebSocket. Raises `RefusalError`.

        `authorization` stands for the header where that can't be set.
        """
        client = scope.get("client")
        peer = client[0] if client else "local"
        if not self.authenticator.required:
            return Identity(None, peer)
        shown = Credentials(
            peer,
            authorization=authorization or header(scope, b"authorization"),
            api_key=header(scope, b"x-api-key"),
            certificate=(scope.get("extensions") or {}).get(CERTIFICATE, {}).get("common_name"),
        )
        return await self.authenticator.identify(shown)


class Front(Protocol):
    """One way in. All methods belong to the event loop of the gateway."""

    async def start(self) -> None:
        """Listen. Raises `UsageError` where the address is taken."""

    async def stop(self, deadline: Deadline) -> None:
        """Accept nothing more, let what is being answered end until the deadline, and close."""
