"""The gRPC server, on the gateway's own event loop, with its health and what it serves told by the usual services."""

import asyncio
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, NamedTuple

import grpc
import structlog
from grpc import aio
from grpc_health.v1 import health, health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection

from schemas import relayfleet_pb2 as wire
from schemas.relayfleet_pb2_grpc import add_MessageRouterServicer_to_server
from workers.core.deadlines import Deadline
from workers.core.errors import UsageError
from workers.core.topology.gateway import Gateway, Tls
from workers.gateway.front import Parts
from workers.gateway.grpc_calls import Calls
from workers.gateway.grpc_desk import Desk

log = structlog.get_logger()

SERVICE = wire.DESCRIPTOR.services_by_name["MessageRouter"].full_name
_BARE = "MessageRouter"
_TRIES = 20
_CLOSE_SECONDS = 1.0
_LOOK_EVERY = 0.5
_KNOWN = 2
"""Times the calls that may be open: so many are taken or wait to be, for only who is taken is told why it is refused."""


class GrpcServer:
    """A front. Where its port is taken it listens on the next free one, and says so."""

    def __init__(self, parts: Parts, host: str, port: int) -> None:
        """`port` 0 takes a free one; `address` says which."""
        self.parts = parts
        self._host = host
        self._port = port
        self._health = health.aio.HealthServicer()
        self._server: aio.Server | None = None
        self._looking: asyncio.Task[None] | None = None
        self.address = ""

    async def start(self) -> None:
        """See `Front`."""
        settings = self.parts.settings
        most = _KNOWN * settings.limits.connections
        server = aio.server(options=_options(settings), maximum_concurrent_rpcs=most)
        recorder = _Recorder()
        add_MessageRouterServicer_to_server(Calls(Desk(self.parts)), recorder)
        server.add_generic_rpc_handlers((*recorder.handlers, _Bare(recorder.handlers)))
        health_pb2_grpc.add_HealthServicer_to_server(self._health, server)
        reflection.enable_server_reflection((SERVICE, health.SERVICE_NAME, reflection.SERVICE_NAME), server)
        port = self._bind(server, settings.tls)
        await self._tell_health()
        await server.start()
        self._server = server
        self._looking = asyncio.create_task(self._look(), name="grpc-health")
        self.address = f"{self._host}:{port}"
        log.info("gateway_listening", protocol="grpc", address=self.address, tls=settings.tls is not None)

    async def stop(self, deadline: Deadline) -> None:
        """See `Front`. Whoever waited was answered or sent away before; streams that are still open are closed."""
        if self._server is None or self._looking is None:
            return
        self._looking.cancel()
        await asyncio.wait({self._looking})
        await self._health.enter_graceful_shutdown()
        await self._server.stop(min(_CLOSE_SECONDS, deadline.remaining()))

    def _bind(self, server: aio.Server, tls: Tls | None) -> int:
        credentials = _credentials(tls) if tls is not None else None
        host = f"[{self._host}]" if ":" in self._host else self._host
        for port in range(self._port, self._port + _TRIES) if self._port else (0,):
            with suppress(RuntimeError):  # what is raised where an address can't be had
                place = f"{host}:{port}"
                bound = (
                    server.add_insecure_port(place)
                    if credentials is None
                    else server.add_secure_port(place, credentials)
                )
                if port != self._port:
                    log.warning("gateway_port_taken", protocol="grpc", port=self._port, instead=bound)
                return bound
        raise UsageError(f"can't listen on {self._host}:{self._port}; choose another gateway.grpc_port")

    async def _look(self) -> None:
        while True:
            await asyncio.sleep(_LOOK_EVERY)
            await self._tell_health()

    async def _tell_health(self) -> None:
        states = health_pb2.HealthCheckResponse
        state = states.SERVING if self.parts.relay.in_service else states.NOT_SERVING
        for service in ("", SERVICE):
            await self._health.set(service, state)


class _Recorder:
    """Takes what the generated code would give to a server."""

    def __init__(self) -> None:
        self.handlers: Sequence[Any] = ()

    def add_generic_rpc_handlers(self, handlers: Sequence[Any]) -> None:
        """See `grpc.Server`."""
        self.handlers = handlers

    def add_registered_method_handlers(self, *_: Any) -> None:
        """See `grpc.Server`: the same handlers once more."""


class _Named(NamedTuple):
    method: str
    invocation_metadata: Any


class _Bare(grpc.GenericRpcHandler):
    """The same calls for clients that were made from the service's lines alone, without a package."""

    def __init__(self, handlers: Sequence[Any]) -> None:
        self._handlers = handlers

    def service(self, handler_call_details: Any) -> Any:
        """See `GenericRpcHandler`."""
        _, service, method = handler_call_details.method.split("/", 2)
        if service != _BARE:
            return None
        named = _Named(f"/{SERVICE}/{method}", handler_call_details.invocation_metadata)
        return next((found for one in self._handlers if (found := one.service(named)) is not None), None)


def _options(settings: Gateway) -> list[tuple[str, Any]]:
    limits = settings.limits
    return [
        ("grpc.max_receive_message_length", limits.body),
        ("grpc.max_send_message_length", -1),
        ("grpc.max_metadata_size", limits.headers),
        ("grpc.max_concurrent_streams", limits.in_flight_per_client),
        # Else from 1,000 on that wait while the loop is busy some are cut off, as if their client had cancelled them.
        ("grpc.server.max_pending_requests", _KNOWN * limits.connections),
        ("grpc.server.max_pending_requests_hard_limit", _KNOWN * limits.connections),
        ("grpc.max_connection_idle_ms", round(settings.idle * 1000)),
        ("grpc.http2.min_recv_ping_interval_without_data_ms", 10_000),
        ("grpc.so_reuseport", 0),  # else a second gateway would take half of the first one's clients
    ]


def _credentials(tls: Tls) -> grpc.ServerCredentials:
    try:
        pair = Path(tls.key_file).read_bytes(), Path(tls.certificate_file).read_bytes()
        client_ca = Path(tls.client_ca_file).read_bytes() if tls.client_ca_file is not None else None
    except OSError as error:
        raise UsageError(f"gateway.tls can't be used: {error.strerror}") from error
    return grpc.ssl_server_credentials([pair], client_ca, require_client_auth=client_ca is not None)
