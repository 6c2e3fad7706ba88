"""The topics that a topology asks for, with what is derived where it says nothing."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace

from workers.core.ports import TopicState
from workers.core.topology.delays import retry_delays
from workers.core.topology.model import Target, TopicDefaults, Topics, TopicSettings, Topology
from workers.core.topology.names import Names
from workers.core.topology.problems import Path
from workers.core.topology.values import MAX_BYTES

HEADER_ROOM = 8192
"""Bytes that the fleet's headers may add to a record on its way; each topic further on takes so much more."""

CHUNKS_RETENTION = 3600.0
LOGS_RETENTION = 3 * 86_400.0
DEAD_LETTERS_RETENTION = 30 * 86_400.0
STATE_RETENTION = 3600.0
LEDGER_SEGMENT = 86_400.0
"""Seconds. Chunks are read at once or never; dead letters wait for people; only closed segments are compacted."""

_BROKER_SEGMENT = 7 * 86_400.0  # Kafka's own default of segment.ms
_MIN_SEGMENT = 60.0


@dataclass(frozen=True, slots=True)
class Shape:
    """What a topic is made of; `retention` in seconds, None keeps the last record of every key for good."""

    partitions: int
    replication: int
    retention: float | None
    max_message_bytes: int


@dataclass(frozen=True, slots=True)
class Planned:
    """A wanted topic, and which field of the topology it comes from."""

    field: Path
    topic: TopicState


def wanted_topics(topology: Topology) -> tuple[TopicState, ...]:
    """Every topic of a deployment: name, partitions, replication, and the configuration that we set."""
    return tuple(planned.topic for planned in plan(topology))


def plan(topology: Topology) -> Iterator[Planned]:
    """The wanted topics with their origin."""
    topics, names = topology.topics, Names(topology)
    default = _default(topics.defaults)
    requests = requests_shape(topics)
    yield _planned(("topics", "model_requests"), names.requests, requests)
    for name, target in topology.targets.items():
        shape = target_shape(topics, target)
        yield _planned(("targets", name), names.target(name), shape)
        for label, _ in retry_delays(target):
            yield _planned(("targets", name), names.retry(name, label), shape)
    yield _planned(("topics", "model_responses"), names.responses, _over(topics.responses, default))
    chunks = _over(topics.chunks, _at_most(default, CHUNKS_RETENTION))
    yield _planned(("topics", "model_chunks"), names.chunks, chunks)
    dead = dead_letters_shape(topics, topology.targets)
    yield _planned(("topics", "dlq.model_requests"), names.dead_letters, dead)
    ledger = replace(_over(topics.ledger, replace(default, partitions=1)), retention=None)
    yield _planned(("topics", "dead_letter_ledger"), names.ledger, ledger)
    yield _planned(
        ("topics", "fleet_logs"), names.logs, _over(topics.logs, _at_most(default, LOGS_RETENTION))
    )
    yield _planned(("topics", "model_shadow"), names.shadow, _over(topics.shadow, default))
    state = _at_most(replace(default, partitions=1), STATE_RETENTION)
    yield _planned(("topics", "fleet_state"), names.state, _over(topics.state, state))


def requests_shape(topics: Topics) -> Shape:
    """The shape of `model_requests`."""
    return _over(topics.requests, _default(topics.defaults))


def target_shape(topics: Topics, target: Target) -> Shape:
    """The shape of a target's topic and of its retry topics: that of the requests, with room for the headers."""
    return _over(target.topic, _with_room(requests_shape(topics)))


def dead_letters_shape(topics: Topics, targets: Mapping[str, Target]) -> Shape:
    """The shape of the dead letters' topic: nothing that any of its sources takes may be too much for it."""
    return _over(topics.dead_letters, dead_letters_floor(topics, targets))


def dead_letters_floor(topics: Topics, targets: Mapping[str, Target]) -> Shape:
    """The least that the dead letters' topic must be, and what it is where the topology says nothing."""
    requests = requests_shape(topics)
    sources = [requests, *(target_shape(topics, target) for target in targets.values())]
    return Shape(
        partitions=max(shape.partitions for shape in sources),
        replication=requests.replication,
        retention=max(DEAD_LETTERS_RETENTION, *(shape.retention or 0.0 for shape in sources)),
        max_message_bytes=_with_room(
            max(sources, key=lambda shape: shape.max_message_bytes)
        ).max_message_bytes,
    )


def _default(defaults: TopicDefaults) -> Shape:
    return Shape(defaults.partitions, defaults.replication, defaults.retention, defaults.max_message_bytes)


def _over(settings: TopicSettings, default: Shape) -> Shape:
    given = settings.model_dump(exclude={"name"}, exclude_none=True)
    return replace(default, **given)


def _at_most(shape: Shape, retention: float) -> Shape:
    return replace(shape, retention=min(shape.retention or retention, retention))


def _with_room(shape: Shape) -> Shape:
    return replace(shape, max_message_bytes=min(shape.max_message_bytes + HEADER_ROOM, MAX_BYTES))


def _planned(field: Path, name: str, shape: Shape) -> Planned:
    return Planned(field, TopicState(name, shape.partitions, shape.replication, _config(shape)))


def _config(shape: Shape) -> dict[str, str]:
    config = {"cleanup.policy": "delete", "max.message.bytes": str(shape.max_message_bytes)}
    if shape.retention is None:
        config |= {"cleanup.policy": "compact", "segment.ms": _milliseconds(LEDGER_SEGMENT)}
    else:
        config["retention.ms"] = _milliseconds(shape.retention)
        if shape.retention < _BROKER_SEGMENT:
            # Kafka deletes whole segments: one that stays open for a week keeps its records as long.
            config["segment.ms"] = _milliseconds(max(shape.retention / 4, _MIN_SEGMENT))
    majority = 3
    if shape.replication >= majority:
        # An acknowledged record outlives any one broker, and any one broker may be away.
        config["min.insync.replicas"] = str(shape.replication // 2 + 1)
    return config


def _milliseconds(seconds: float) -> str:
    return str(round(seconds * 1000))
