"""A topology in parts that are typed one by one, so that one mistake does not hide another."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, TypeVar

from pydantic import TypeAdapter, ValidationError

from workers.core.topology.gateway import Gateway
from workers.core.topology.model import Kafka, Once, Stores, Target, Topics
from workers.core.topology.problems import Fault, Path
from workers.core.topology.routing import Intent, Intents, Route
from workers.core.topology.tenants import Tenant, Tenants
from workers.core.topology.wording import faults_of

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Parts:
    """What is well formed by itself; None and absent ones have been reported."""

    kafka: Kafka | None
    stores: Stores | None
    once: Once | None
    topics: Topics | None
    intents: Mapping[str, Intent]
    routes: tuple[tuple[int, Route], ...]  # with their index in the file
    mended: frozenset[int]  # routes that lost a wrong key: what they ask for is not known
    last_route: int  # the index of the last route in the file
    targets: Mapping[str, Target]
    declared: frozenset[str]  # every target's name, well formed or not
    gateway: Gateway | None
    tenants: Mapping[str, Tenant]


_KAFKA: TypeAdapter[Kafka] = TypeAdapter(Kafka)
_STORES: TypeAdapter[Stores] = TypeAdapter(Stores)
_ONCE: TypeAdapter[Once] = TypeAdapter(Once)
_TOPICS: TypeAdapter[Topics] = TypeAdapter(Topics)
_INTENTS: TypeAdapter[dict[str, Intent]] = TypeAdapter(Intents)
_ROUTE: TypeAdapter[Route] = TypeAdapter(Route)
_TARGET: TypeAdapter[Target] = TypeAdapter(Target)
_GATEWAY: TypeAdapter[Gateway] = TypeAdapter(Gateway)
_TENANTS: TypeAdapter[dict[str, Tenant]] = TypeAdapter(Tenants)


def parts_of(data: dict[str, Any]) -> Parts:
    """The parts of a file's data."""
    named = data["targets"] if isinstance(data.get("targets"), dict) else {}
    listed = data["routes"] if isinstance(data.get("routes"), list) else []
    routes = tuple(
        (index, route) for index, value in enumerate(listed) if (route := _valid(_ROUTE, value)) is not None
    )
    intents = _valid(_INTENTS, data.get("intents", {}))
    tenants = _valid(_TENANTS, data.get("tenants", {}))
    return Parts(
        kafka=_valid(_KAFKA, data.get("kafka", {})),
        stores=_valid(_STORES, data.get("stores", {})),
        once=_valid(_ONCE, data.get("once", {})),
        topics=_valid(_TOPICS, data.get("topics", {})),
        intents=intents or {},
        routes=routes,
        mended=frozenset(index for index, _ in routes if _faults(_ROUTE, listed[index])),
        last_route=len(listed) - 1,
        targets={
            name: target for name, value in named.items() if (target := _valid(_TARGET, value)) is not None
        },
        declared=frozenset(named),
        gateway=_valid(_GATEWAY, data.get("gateway", {})),
        tenants=tenants or {},
    )


def _valid(adapter: TypeAdapter[T], value: Any) -> T | None:
    """The typed part; a wrong key is left out as long as the rest still holds."""
    for _ in range(4):  # leaving one out may show another
        faults = _faults(adapter, value)
        if not faults:
            return adapter.validate_python(value, by_alias=True, by_name=False)
        value = _without(value, faults)
        if value is None:
            return None
    return None


def _faults(adapter: TypeAdapter[Any], value: Any) -> list[Fault]:
    try:
        adapter.validate_python(value, by_alias=True, by_name=False)
    except ValidationError as error:
        return faults_of(error.errors(include_url=False), value)
    return []


def _without(value: Any, faults: list[Fault]) -> Any:
    """`value` without the keys that are wrong; None where it can't do without them."""
    for fault in faults:
        path = fault.path
        while path and isinstance(path[-1], int):  # leaving an item out would move those behind it
            path = path[:-1]
        if not path or fault.message == "is missing":
            return None
        value = _drop(value, path)
    return value


def _drop(value: Any, path: Path) -> Any:
    if isinstance(value, list) and isinstance(path[0], int):
        return [_drop(item, path[1:]) if index == path[0] else item for index, item in enumerate(value)]
    if not isinstance(value, dict):
        return value
    if len(path) == 1:
        return {name: inner for name, inner in value.items() if name != path[0]}
    return {name: _drop(inner, path[1:]) if name == path[0] else inner for name, inner in value.items()}
