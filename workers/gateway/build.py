"""A gateway from the topology and its ports."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import structlog

from workers.backends.openai_request import ALLOWED
from workers.core.clock import Clock
from workers.core.metrics import Metrics
from workers.core.ports import Admin, AnswerStore, LimitStore, Publisher, Subscription
from workers.core.topology.gateway import Gateway
from workers.core.topology.live import LiveTopology
from workers.core.topology.model import OpenAITarget, Topology
from workers.core.topology.names import Names
from workers.core.topology.tenants import Tenant
from workers.gateway.app import build_app
from workers.gateway.auth import Authenticator
from workers.gateway.doorkeeper import Doorkeeper
from workers.gateway.front import Front, Parts
from workers.gateway.grpc_server import GrpcServer
from workers.gateway.hosts import Hosts, is_loopback
from workers.gateway.http_server import HttpServer
from workers.gateway.live import LiveGateway
from workers.gateway.openai_front import OpenAIFront
from workers.gateway.pending import Registry
from workers.gateway.relay import Relay, RelayDeps
from workers.gateway.replies import Replies, Topics
from workers.gateway.service import GatewayService
from workers.gateway.tokens import Tokens, reader_of
from workers.gateway.watch import KafkaWatch
from workers.gateway.websocket_front import WebSocketFront
from workers.gateway.websocket_sessions import Sessions
from workers.policies.quota import quotas_of

log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class GatewayPorts:
    """What a gateway needs from the world."""

    publisher: Publisher
    subscription: Subscription
    admin: Admin
    store: AnswerStore
    metrics: Metrics
    clock: Clock
    limits: Callable[[], LimitStore]


@dataclass(frozen=True, slots=True)
class Listening:
    """Where it listens; port 0 takes a free one. `directory` is where the topology's relative paths begin."""

    host: str
    port: int
    grpc_port: int
    directory: Path


async def build_gateway(
    topology: Topology, ports: GatewayPorts, listening: Listening, live: LiveTopology | None = None
) -> GatewayService:
    """A gateway that is not running yet; with `live`, which has the same topology, it follows that. Raises `UsageError` where the keys of tokens can't be read."""
    settings, tenants = topology.gateway, topology.tenants
    names, registry = Names(topology), Registry()
    replies = Replies(
        Topics(names.responses, names.chunks),
        ports.subscription,
        ports.admin,
        ports.store,
        registry,
        ports.metrics,
    )
    watch = KafkaWatch(ports.admin, settings.confirm)
    deps = RelayDeps(
        settings,
        tenants,
        frozenset(topology.targets),
        names.requests,
        ports.publisher,
        ports.store,
        replies,
        registry,
        watch,
        ports.metrics,
        ports.clock,
        _doorkeeper(topology, ports),
    )
    relay = Relay(deps)
    authenticator = await _authenticator(settings, tenants, ports.clock, listening)
    if live is not None:
        LiveGateway(relay, authenticator, partial(_doorkeeper, ports=ports), live)
    parts = Parts(relay, authenticator, settings, ports.metrics, ports.clock)
    return GatewayService(
        relay, replies, registry, watch, fronts(topology, parts, ports, listening), ports.clock
    )


def fronts(topology: Topology, parts: Parts, ports: GatewayPorts, listening: Listening) -> list[Front]:
    """Every way in."""
    openai = OpenAIFront(parts, passed_on(topology))
    sockets = WebSocketFront(parts, Sessions(ports.store))
    hosts = Hosts(listening.host, parts.settings.hosts, parts.authenticator)
    app = build_app(parts, [*openai.routes(), *sockets.routes()], hosts)
    return [
        HttpServer(app, parts.settings, listening.host, listening.port),
        GrpcServer(parts, listening.host, listening.grpc_port),
    ]


def passed_on(topology: Topology) -> frozenset[str]:
    """The parameters that some model of the topology takes."""
    named = (target.parameters for target in topology.targets.values() if isinstance(target, OpenAITarget))
    return ALLOWED.union(*named)


def _doorkeeper(topology: Topology, ports: GatewayPorts) -> Doorkeeper | None:
    quotas = quotas_of(topology, None)
    return None if quotas is None else Doorkeeper(quotas, ports.limits(), ports.clock)


async def _authenticator(
    settings: Gateway, tenants: Mapping[str, Tenant], clock: Clock, listening: Listening
) -> Authenticator:
    tokens: Tokens | None = None
    if settings.jwt is not None:
        tokens = Tokens(settings.jwt, reader_of(settings.jwt.jwks, listening.directory), clock)
        await tokens.start()
    authenticator = Authenticator(settings, tenants, tokens)
    if not authenticator.required and not is_loopback(listening.host):
        log.warning(
            "gateway_open",
            host=listening.host,
            so="whoever reaches this address may ask; give tenants keys, or name gateway.jwt",
        )
    return authenticator
