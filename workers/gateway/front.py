"""What every front has: the relay, who may come in, the settings; and how a service starts and stops it."""

from dataclasses import dataclass
from typing import Protocol

from starlette.requests import HTTPConnection

from workers.core.clock import Clock
from workers.core.deadlines import Deadline
from workers.core.metrics import Metrics
from workers.core.topology.gateway import Gateway
from workers.gateway.auth import Authenticator, Credentials, Identity
from workers.gateway.relay import Relay

CERTIFICATE = "relayfleet.certificate"
"""The extension of a scope whose `common_name` is that of the client's certificate."""


@dataclass(frozen=True, slots=True)
class Parts:
    """What a front is made of."""

    relay: Relay
    authenticator: Authenticator
    settings: Gateway
    metrics: Metrics
    clock: Clock

    async def identify(self, connection: HTTPConnection) -> Identity:
        """Who makes a request over HTTP or opens a WebSocket. Raises `RefusalError`."""
        shown = Credentials(
            peer=connection.client.host if connection.client is not None else "local",
            authorization=connection.headers.get("authorization"),
            api_key=connection.headers.get("x-api-key"),
            certificate=(connection.scope.get("extensions") or {}).get(CERTIFICATE, {}).get("common_name"),
        )
        return await self.authenticator.identify(shown)


class Front(Protocol):
    """One way in. All methods belong to the event loop of the gateway."""

    async def start(self) -> None:
        """Listen. Raises `UsageError` where the address is taken."""

    async def stop(self, deadline: Deadline) -> None:
        """Accept nothing more, let what is being answered end until the deadline, and close."""
