"""The HTTP server: uvicorn on the gateway's own event loop, with bounds that it does not have itself."""

import asyncio
import socket
import ssl
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from typing import cast

import structlog
import uvicorn

from workers.core.deadlines import Deadline
from workers.core.errors import UsageError
from workers.core.topology.gateway import Gateway, Tls
from workers.gateway.app import GatewayApp
from workers.gateway.http_protocol import BoundedHttp
from workers.gateway.websocket_protocol import CertifiedWebSocket

log = structlog.get_logger()

_BACKLOG = 2048


class HttpServer:
    """A front: everything that speaks HTTP or begins with it."""

    def __init__(self, app: GatewayApp, settings: Gateway, host: str, port: int) -> None:
        """`port` 0 takes a free one; `address` says which."""
        self._app = app
        self._settings = settings
        self._host = host
        self._port = port
        self._server: _Server | None = None
        self._serving: asyncio.Task[None] | None = None
        self.address = ""

    async def start(self) -> None:
        """See `Front`."""
        settings = self._settings
        config = server_config(self._app, settings)
        if settings.tls is not None:
            config.ssl = _tls(settings.tls)
        listening = self._listen()
        self.address = "{}:{}".format(*listening.getsockname()[:2])
        self._server = _Server(config)
        self._serving = asyncio.create_task(self._server.serve(sockets=[listening]), name="http")
        up = asyncio.create_task(self._server.up.wait())
        await asyncio.wait({up, self._serving}, return_when=asyncio.FIRST_COMPLETED)
        up.cancel()
        log.info("gateway_listening", address=self.address, tls=settings.tls is not None)

    async def stop(self, deadline: Deadline) -> None:
        """See `Front`."""
        if self._server is None or self._serving is None:
            return
        self._server.config.timeout_graceful_shutdown = max(1, round(deadline.remaining()))
        self._server.should_exit = True
        await asyncio.wait({self._serving}, timeout=deadline.remaining() + 1)

    def _listen(self) -> socket.socket:
        try:
            family = socket.AF_INET6 if ":" in self._host else socket.AF_INET
            return socket.create_server((self._host, self._port), family=family, backlog=_BACKLOG)
        except OSError as error:
            raise UsageError(
                f"can't listen on {self._host}:{self._port} ({error.strerror}); choose another gateway.port"
            ) from error


def server_config(app: GatewayApp, settings: Gateway) -> uvicorn.Config:
    """How uvicorn serves the gateway's application."""
    config = uvicorn.Config(
        app,
        http=cast("type[asyncio.Protocol]", partial(BoundedHttp, settings, app.answer)),
        ws=CertifiedWebSocket,
        # Its window takes 40 kB a connection, and what is read here is short.
        ws_per_message_deflate=False,
        lifespan="off",
        interface="asgi3",
        access_log=False,
        log_config=None,
        proxy_headers=False,
        server_header=False,
        date_header=False,
        timeout_keep_alive=max(1, round(settings.idle)),
        backlog=_BACKLOG,
        ws_max_size=settings.limits.body,
    )
    config.load()
    return config


class _Server(uvicorn.Server):
    def __init__(self, config: uvicorn.Config) -> None:
        super().__init__(config)
        self.up = asyncio.Event()

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Tell when connections are accepted."""
        await super().startup(sockets)
        self.up.set()

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Signals are the process's, which stops its parts in order."""
        yield


def _tls(tls: Tls) -> ssl.SSLContext:
    try:
        context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        context.minimum_version = ssl.TLSVersion.TLSv1_2
        context.load_cert_chain(tls.certificate_file, tls.key_file)
        if tls.client_ca_file is not None:
            context.load_verify_locations(tls.client_ca_file)
            context.verify_mode = ssl.CERT_REQUIRED
    except (OSError, ssl.SSLError) as error:
        raise UsageError(f"gateway.tls can't be used: {error.strerror or error}") from error
    return context
