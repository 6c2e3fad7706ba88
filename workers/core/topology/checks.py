"""What no single field can tell: names that lead nowhere, rules that are never reached, numbers that contradict."""

import re
from collections.abc import Iterator, Mapping

from workers.core.topology.check_addresses import check_instances, check_kafka, check_stores
from workers.core.topology.check_gateway import check_gateway, check_tenants
from workers.core.topology.check_limits import check_limits
from workers.core.topology.check_numbers import check_numbers, check_once
from workers.core.topology.check_protocols import check_protocol
from workers.core.topology.check_routes import check_intents, check_routes
from workers.core.topology.check_sql import check_sql
from workers.core.topology.check_topics import check_topics
from workers.core.topology.model import (
    GrpcTarget,
    HttpTarget,
    KafkaTarget,
    OpenAITarget,
    SqlTarget,
    Target,
    WebSocketTarget,
)
from workers.core.topology.parts import Parts
from workers.core.topology.problems import Fault, Path, did_you_mean

_TARGET_NAME = re.compile(r"[a-zA-Z0-9][a-zA-Z0-9_-]{0,99}")


def check(parts: Parts) -> Iterator[Fault]:
    """Every fault between the parts."""
    if parts.kafka is not None:
        yield from check_kafka(parts.kafka)
    if parts.stores is not None:
        yield from check_stores(parts.stores)
    if parts.once is not None:
        yield from check_once(parts.once)
    if parts.gateway is not None:
        yield from check_gateway(parts.gateway)
    yield from check_tenants(parts)
    yield from check_intents(parts.intents)
    yield from check_routes(parts)
    for name, target in parts.targets.items():
        yield from _target(name, target, parts)
    yield from _fallback_loops(parts)
    yield from check_limits(parts)
    if parts.topics is not None:
        named = {name: target for name, target in parts.targets.items() if _TARGET_NAME.fullmatch(name)}
        yield from check_topics(parts.topics, named)


def _target(name: str, target: Target, parts: Parts) -> Iterator[Fault]:
    path: Path = ("targets", name)
    if _TARGET_NAME.fullmatch(name) is None:
        yield Fault(
            path,
            "a target's name is part of its topic's and can't be this",
            "letters, digits, `_` and `-`, 100 at most, starting with a letter or digit",
            at_key=True,
        )
    yield from _fallbacks(name, target, parts.declared)
    yield from check_numbers(path, target)
    match target:
        case OpenAITarget():
            yield from check_instances(path, target.instances, ("http", "https"))
        case SqlTarget():
            yield from check_sql(path, target)
        case HttpTarget() | WebSocketTarget() | GrpcTarget() | KafkaTarget():
            yield from check_protocol(path, target)


def _fallbacks(name: str, target: Target, declared: frozenset[str]) -> Iterator[Fault]:
    for place, other, before in target.fallback.places():
        at = ("targets", name, "fallback", *place)
        if other not in declared:
            yield Fault(at, f"there is no target {other!r}", did_you_mean(other, declared - {name}))
        elif other in before:
            yield Fault(at, f"{other!r} is in the list already", "name it once")


def _fallback_loops(parts: Parts) -> Iterator[Fault]:
    """Each loop once, at the fallback that closes it."""
    done: set[str] = set()
    for start in parts.targets:
        yield from _follow(start, (), done, parts.targets)


def _follow(
    name: str, trail: tuple[str, ...], done: set[str], targets: Mapping[str, Target]
) -> Iterator[Fault]:
    if name in done or name not in targets:
        return
    for place, other, _ in targets[name].fallback.places():
        at = ("targets", name, "fallback", *place)
        if other == name:
            yield Fault(at, "a target can't be its own fallback", "remove it")
        elif other in trail:
            loop = " -> ".join((*trail[trail.index(other) :], name, other))
            yield Fault(at, f"fallbacks go in a circle: {loop}", "break it at one place")
        else:
            yield from _follow(other, (*trail, name), done, targets)
    done.add(name)
