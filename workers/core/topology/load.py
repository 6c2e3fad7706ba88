"""Reading topology.yaml: the text, its references, its types, then what no single field can tell."""

from collections.abc import Mapping
from pathlib import Path as FilePath
from typing import Any, TypeVar

from pydantic import TypeAdapter, ValidationError

from workers.core.topology.checks import Parts, check
from workers.core.topology.document import MAX_BYTES, Document, UnreadableError, read_document
from workers.core.topology.model import Kafka, Once, Route, Stores, Target, Topics, Topology
from workers.core.topology.problems import Fault, Path, Place, Problem, TopologyError, field_name
from workers.core.topology.references import Resolver
from workers.core.topology.secrets import literal_secrets
from workers.core.topology.unsupported import not_supported_yet
from workers.core.topology.wording import faults_of

_SHORTEST_HIDDEN = 4
T = TypeVar("T")


def load_topology(path: FilePath, environment: Mapping[str, str]) -> Topology:
    """Read and check a topology file; `environment` is what `${NAME}` may refer to.

    Raises `TopologyError` with every problem of the file at once.
    """
    file = str(path)
    raw = _read(path, file)
    try:
        document = read_document(raw)
    except UnreadableError as error:
        place = error.place
        raise TopologyError(
            [Problem(file, place.line, place.column, "", error.message, error.suggestion)]
        ) from None
    resolver = Resolver(environment, path.parent)
    data = resolver.resolve(document.data)
    topology, faults = _understand(data)
    faults = [*document.faults, *resolver.faults, *literal_secrets(document.data), *faults]
    if faults or topology is None:
        raise TopologyError(_problems(file, document, resolver, faults))
    return topology


def _read(path: FilePath, file: str) -> bytes:
    try:
        with path.open("rb") as stream:
            return stream.read(MAX_BYTES + 1)
    except FileNotFoundError:
        message, advice = (
            "there is no such file",
            "give one with --topology, or copy the project's topology.yaml",
        )
    except OSError as error:
        message, advice = f"can't be read: {error.strerror}", None
    raise TopologyError([Problem(file, 1, 1, "", message, advice)])


def _understand(data: Any) -> tuple[Topology | None, list[Fault]]:
    """The topology, or every fault that can be found; parts without a fault are checked against each other all the same."""
    if not isinstance(data, dict):
        return None, [Fault((), "must be a mapping of keys and values", "start with `version: 1`")]
    unsupported = list(not_supported_yet(data))
    hidden = {fault.path for fault in unsupported}
    faults: list[Fault] = []
    topology: Topology | None = None
    try:
        topology = Topology.model_validate(data, by_alias=True, by_name=False)
    except ValidationError as error:
        faults = [
            fault
            for fault in faults_of(error.errors(include_url=False), data)
            if not any(fault.path[: len(path)] == path for path in hidden)
        ]
    crossed = [fault for fault in check(_parts(data)) if not _explained(fault, faults)]
    return topology, [*unsupported, *faults, *crossed]


def _parts(data: dict[str, Any]) -> Parts:
    """What is well formed by itself, so that one mistake does not hide another."""
    targets = data.get("targets")
    routes = data.get("routes")
    named = targets if isinstance(targets, dict) else {}
    listed = routes if isinstance(routes, list) else []
    valid: dict[str, Target] = {}
    for name, value in named.items():
        target = _valid(_TARGET, value)
        if target is not None:
            valid[name] = target
    return Parts(
        kafka=_valid(_KAFKA, data.get("kafka", {})),
        stores=_valid(_STORES, data.get("stores", {})),
        once=_valid(_ONCE, data.get("once", {})),
        topics=_valid(_TOPICS, data.get("topics", {})),
        routes=tuple(
            (index, route) for index, value in enumerate(listed) if (route := _valid(_ROUTE, value))
        ),
        targets=valid,
        declared=frozenset(named),
        last_route=len(listed) - 1,
    )


_KAFKA: TypeAdapter[Kafka] = TypeAdapter(Kafka)
_STORES: TypeAdapter[Stores] = TypeAdapter(Stores)
_ONCE: TypeAdapter[Once] = TypeAdapter(Once)
_TOPICS: TypeAdapter[Topics] = TypeAdapter(Topics)
_ROUTE: TypeAdapter[Route] = TypeAdapter(Route)
_TARGET: TypeAdapter[Target] = TypeAdapter(Target)


def _valid(adapter: TypeAdapter[T], value: Any) -> T | None:
    """The typed part; a wrong key is left out as long as the rest still holds."""
    for _ in range(4):
        try:
            return adapter.validate_python(value, by_alias=True, by_name=False)
        except ValidationError as error:
            pruned = _without(value, faults_of(error.errors(include_url=False), value))
            if pruned is None:
                return None
            value = pruned
    return None


def _without(value: Any, faults: list[Fault]) -> Any:
    """`value` without the keys that are wrong; None where it can't do without them."""
    for fault in faults:
        path = fault.path
        while path and isinstance(path[-1], int):
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


def _explained(fault: Fault, others: list[Fault]) -> bool:
    """Whether a fault only follows from another one at the same field, in it or around it."""
    return any(
        fault.path[: len(other.path)] == other.path or other.path[: len(fault.path)] == fault.path
        for other in others
    )


def _problems(file: str, document: Document, resolver: Resolver, faults: list[Fault]) -> list[Problem]:
    missing = {fault.path for fault in resolver.faults}
    problems: dict[Problem, None] = {}
    for fault in faults:
        if fault.path in missing and fault not in resolver.faults:
            continue  # the field is wrong because its reference leads nowhere, which is said already
        place = fault.place or _place(document, fault)
        hide = [(value, resolver.raw[path]) for path, value in resolver.values.items()]
        message, advice = _hidden(fault.message, hide), fault.suggestion and _hidden(fault.suggestion, hide)
        problems[Problem(file, place.line, place.column, field_name(fault.path), message, advice)] = None
    return list(problems)


def _place(document: Document, fault: Fault) -> Place:
    return document.place(fault.path, key=fault.at_key)


def _hidden(text: str, values: list[tuple[str, str]]) -> str:
    """`text` without anything that came from the environment or a file."""
    for value, raw in sorted(values, key=lambda pair: -len(pair[0])):
        for form in (value, repr(value)[1:-1]):
            if len(form) >= _SHORTEST_HIDDEN:
                text = text.replace(form, raw)
    return text
