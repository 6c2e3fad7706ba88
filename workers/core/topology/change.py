"""What a changed topology changes in a running fleet, and what of it needs a restart. Pure."""

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import orjson

from workers.core.topology.model import Topology
from workers.core.topology.problems import Path, field_name
from workers.core.topology.secrets import masked_fields

LIVE = ("routes", "intents", "targets", "tenants", "gateway")
"""What running processes take over from a changed file; everything else is read once, at their start."""

_APPLIED = ("partitions", "replication", "retention")
"""Of a topic's settings: what `relayfleet topology apply` changes, and no process needs to know."""

_HASH_LENGTH = 12
_TOPIC = ("topic",)  # of a target: names and sizes are part of clients that are open already


@dataclass(frozen=True, slots=True)
class Changes:
    """Between two topologies, as fields of the file. `restart`: said, and in force after a restart alone."""

    live: tuple[str, ...] = ()
    restart: tuple[str, ...] = ()
    added: tuple[str, ...] = ()  # targets
    removed: tuple[str, ...] = ()

    def __bool__(self) -> bool:
        return bool(self.live or self.restart)


def changes_between(old: Topology, new: Topology, once: frozenset[str] = frozenset()) -> Changes:
    """What differs. A route or target counts as a whole where it is new or gone. `once`: parts that need a restart too."""
    before, after = _plain(old), _plain(new)
    live: dict[str, None] = {}
    restart: dict[str, None] = {}
    for path in _differing(before, after):
        if path[-1] in _APPLIED and _is_topic(path):
            continue
        stays = path[0] not in LIVE or path[0] in once or _is_topic(path)
        (restart if stays else live)[field_name(path)] = None
    return Changes(
        tuple(live),
        tuple(restart),
        tuple(name for name in new.targets if name not in old.targets),
        tuple(name for name in old.targets if name not in new.targets),
    )


def merged(old: Topology, new: Topology, once: frozenset[str] = frozenset()) -> Topology:
    """The new topology as far as it can be taken over by a running process that started with the old one."""
    kept = {name: getattr(old, name) for name in Topology.model_fields if name not in LIVE or name in once}
    targets = {
        name: target.model_copy(update={"topic": old.targets[name].topic}) if name in old.targets else target
        for name, target in new.targets.items()
    }
    return new.model_copy(update={**kept, "targets": targets})


def fixed_parts(topology: Topology) -> dict[str, str]:
    """A hash of each part that a process reads once, at its start: secrets are no part of it."""
    data = masked_fields(topology.model_dump(mode="json", by_alias=True))
    parts = {name: value for name, value in data.items() if name not in LIVE}
    return {name: _hash(value) for name, value in parts.items()}


def _hash(value: Any) -> str:
    return hashlib.sha256(orjson.dumps(value, option=orjson.OPT_SORT_KEYS)).hexdigest()[:_HASH_LENGTH]


def leads_to(topology: Topology) -> frozenset[str]:
    """The targets that may get messages: those of the routes, and all others, since a message may name its target."""
    return frozenset(topology.targets)


def _plain(topology: Topology) -> dict[str, Any]:
    """As the file has it, with routes by name; secrets stay what they are, to be compared and never shown."""
    data = topology.model_dump(by_alias=True)
    data["routes"] = {
        **{route["name"]: route for route in data["routes"]},
        "": tuple(route["name"] for route in data["routes"]),  # their order counts
    }
    return data


def _differing(old: Any, new: Any, path: Path = ()) -> Iterator[Path]:
    if isinstance(old, dict) and isinstance(new, dict):
        for name in dict.fromkeys((*old, *new)):
            if name not in old or name not in new:
                yield (*path, name) if name else path
            else:
                yield from _differing(old[name], new[name], (*path, name) if name else path)
    elif old != new:
        yield path


def _is_topic(path: Path) -> bool:
    return path[0] == "topics" or (path[0] == "targets" and path[2:3] == _TOPIC)
