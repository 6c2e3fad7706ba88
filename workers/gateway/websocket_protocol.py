"""uvicorn's WebSocket protocol, which knows whose certificate the client showed."""

from asyncio import BaseTransport

from uvicorn.protocols.websockets.websockets_sansio_impl import WebSocketsSansIOProtocol

from workers.gateway.certificates import common_name
from workers.gateway.front import CERTIFICATE


class CertifiedWebSocket(WebSocketsSansIOProtocol):
    """One connection."""

    _certificate: str | None = None

    def connection_made(self, transport: BaseTransport) -> None:
        """See `asyncio.Protocol`."""
        super().connection_made(transport)
        self._certificate = common_name(transport)

    async def run_asgi(self) -> None:
        """Serve it."""
        if self._certificate is not None:
            extensions = self.scope.get("extensions") or {}
            self.scope["extensions"] = {**extensions, CERTIFICATE: {"common_name": self._certificate}}
        await super().run_asgi()
