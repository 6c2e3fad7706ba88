"""Backends from a topology: one for each instance of a target."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from workers.backends.openai import OpenAIBackend
from workers.backends.sql import SqlBackend
from workers.core.clock import Clock
from workers.core.errors import UsageError
from workers.core.ports import Backend
from workers.core.topology.instances import Instance
from workers.core.topology.model import (
    GrpcTarget,
    HttpTarget,
    KafkaTarget,
    OpenAITarget,
    SqlTarget,
    Target,
    WebSocketTarget,
)

if TYPE_CHECKING:
    from workers.backends.kafka import Open as OpenPair


@dataclass(frozen=True, slots=True)
class OpenedBackend:
    """A backend with its share of the target's messages and the calls it takes at once."""

    backend: Backend
    weight: float = 1.0
    concurrency: int | Literal["adaptive"] = 64


def open_backends(
    name: str, target: Target, clock: Clock, open_pair: "OpenPair | None" = None
) -> Sequence[OpenedBackend]:
    """The backends of target `name`, in the topology's order; nothing is connected yet.

    `open_pair` opens the topics of a `kafka` target.

    Raises `UsageError` that names the target, for settings with which no call could ever work.
    """
    try:
        return _open(target, clock, open_pair)
    except UsageError as error:
        raise UsageError(f"targets.{name}: {error}") from error


def _open(target: Target, clock: Clock, open_pair: "OpenPair | None") -> Sequence[OpenedBackend]:
    match target:
        case OpenAITarget():
            opened = _each(target.instances, lambda instance: OpenAIBackend(instance, target, clock))
        case SqlTarget():
            opened = [OpenedBackend(SqlBackend(target), concurrency=target.concurrency)]
        case HttpTarget():
            opened = _http(target, clock)
        case WebSocketTarget():
            opened = _websocket(target)
        case GrpcTarget():
            opened = _grpc(target)
        case KafkaTarget():
            opened = _kafka(target, open_pair)
    _refuse_twins(opened)
    return opened


def _each(instances: Sequence[Instance], make: Callable[[Instance], Backend]) -> list[OpenedBackend]:
    return [OpenedBackend(make(one), one.weight, one.concurrency) for one in instances]


# What a protocol needs is imported by the workers that speak it.


def _http(target: HttpTarget, clock: Clock) -> list[OpenedBackend]:
    from workers.backends.http import HttpBackend
    from workers.backends.oauth2 import TokenSource

    tokens = TokenSource(target.oauth2, clock) if target.oauth2 is not None else None
    return _each(target.instances, lambda instance: HttpBackend(instance, target, clock, tokens))


def _websocket(target: WebSocketTarget) -> list[OpenedBackend]:
    from workers.backends.websocket import WebSocketBackend

    return _each(target.instances, lambda instance: WebSocketBackend(instance, target))


def _grpc(target: GrpcTarget) -> list[OpenedBackend]:
    from workers.backends.grpc import GrpcBackend

    return _each(target.instances, lambda instance: GrpcBackend(instance, target))


def _kafka(target: KafkaTarget, open_pair: "OpenPair | None") -> list[OpenedBackend]:
    from workers.backends.kafka import KafkaBackend

    if open_pair is None:
        raise UsageError("nobody here can open the topics of a target of type kafka")
    return [OpenedBackend(KafkaBackend(target, open_pair), concurrency=target.concurrency)]


def _refuse_twins(opened: Sequence[OpenedBackend]) -> None:
    """Metrics, breakers and session affinity know an instance by its name."""
    seen: set[str] = set()
    for one in opened:
        if one.backend.name in seen:
            raise UsageError(f"two instances are called {one.backend.name}; raise the weight of one instead")
        seen.add(one.backend.name)
