"""What has to change at a cluster for a topology; what can't be changed without loss is said and left alone."""

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from workers.core.ports import Admin, TopicState

# What Kafka goes by where a topic says nothing itself.
_RETENTION, _POLICY = "retention.ms", "cleanup.policy"
_BROKER_DEFAULTS = {_RETENTION: str(7 * 86_400_000), _POLICY: "delete"}


@dataclass(frozen=True, slots=True)
class Create:
    """A topic is missing."""

    topic: TopicState


@dataclass(frozen=True, slots=True)
class Grow:
    """A topic has too few partitions."""

    name: str
    partitions: int
    existing: int


@dataclass(frozen=True, slots=True)
class Configure:
    """Values of a topic differ; `existing` holds those that are set, of the same names."""

    name: str
    config: Mapping[str, str]
    existing: Mapping[str, str]


Action = Create | Grow | Configure


@dataclass(frozen=True, slots=True)
class Refusal:
    """Something differs that we never change; `instead` is what a person can do."""

    name: str
    message: str
    instead: str


@dataclass(frozen=True, slots=True)
class Difference:
    """Between a topology and a cluster. `unknown` are topics like ours that the topology does not name: never touched."""

    actions: tuple[Action, ...]
    refusals: tuple[Refusal, ...]
    unknown: tuple[str, ...] = ()

    @property
    def differs(self) -> bool:
        """Whether the cluster is not what the topology asks for."""
        return bool(self.actions or self.refusals)

    def as_json(self) -> dict[str, Any]:
        """Plain values for scripts."""
        return {
            "actions": [_as_json(action) for action in self.actions],
            "refused": [asdict(refusal) for refusal in self.refusals],
            "unknown": list(self.unknown),
        }


def difference(wanted: Sequence[TopicState], existing: Mapping[str, TopicState]) -> Difference:
    """Compare; actions come in the order to do them in: create, grow, configure."""
    created = [Create(topic) for topic in wanted if topic.name not in existing]
    grown: list[Grow] = []
    configured: list[Configure] = []
    refusals: list[Refusal] = []
    for topic in wanted:
        found = existing.get(topic.name)
        if found is None:
            continue
        if topic.partitions > found.partitions:
            grown.append(Grow(topic.name, topic.partitions, found.partitions))
        config = {key: value for key, value in topic.config.items() if found.config.get(key) != value}
        losing = {key: refusal for key in config if (refusal := _loss(topic, found, key)) is not None}
        kept = {key: value for key, value in config.items() if key not in losing}
        if kept:
            set_now = {key: found.config[key] for key in kept if key in found.config}
            configured.append(Configure(topic.name, kept, set_now))
        refusals += [*_shape(topic, found), *losing.values()]
    return Difference((*created, *grown, *configured), tuple(refusals), _unknown(wanted, existing))


def _as_json(action: Action) -> dict[str, Any]:
    match action:
        case Create(topic):
            return {"action": "create", **asdict(topic)}
        case Grow():
            return {"action": "grow", **asdict(action)}
        case Configure():
            return {"action": "configure", **asdict(action)}


async def apply(actions: Sequence[Action], admin: Admin) -> None:
    """Carry the actions out, in order. Raises what the admin raises; doing it again goes on where it stopped."""
    missing = [action.topic for action in actions if isinstance(action, Create)]
    if missing:
        await admin.create(missing)
    for action in actions:
        match action:
            case Grow():
                await admin.grow(action.name, action.partitions)
            case Configure():
                await admin.configure(action.name, action.config)
            case Create():
                pass


def _shape(wanted: TopicState, found: TopicState) -> Iterator[Refusal]:
    if wanted.partitions < found.partitions:
        yield Refusal(
            wanted.name,
            f"it has {found.partitions} partitions, {wanted.partitions} are wanted, and Kafka can't take any away",
            f"{wanted.name}: write `partitions: {found.partitions}` into the topology",
        )
    if wanted.replication != found.replication:
        yield Refusal(
            wanted.name,
            f"its replication is {found.replication}, {wanted.replication} is wanted",
            f"{wanted.name}: kafka-reassign-partitions moves replicas, if the topology is right",
        )


def _loss(wanted: TopicState, found: TopicState, key: str) -> Refusal | None:
    """The refusal where setting this value would delete records."""
    value, now = wanted.config[key], found.config.get(key, _BROKER_DEFAULTS.get(key, ""))
    loses = (key == _RETENTION and _lasting(value) < _lasting(now)) or (key == _POLICY and value != now)
    if not loses:
        return None
    return Refusal(
        wanted.name,
        f"{key} is {now}, {value} is wanted, and that would delete records",
        f"if they may go: kafka-configs --bootstrap-server HOST:PORT --alter --entity-type topics --entity-name {wanted.name} --add-config {key}={value}",
    )


def _lasting(milliseconds: str) -> float:
    value = float(milliseconds)
    return math.inf if value < 0 else value


def _unknown(wanted: Sequence[TopicState], existing: Mapping[str, TopicState]) -> tuple[str, ...]:
    """Topics that carry the name of a wanted one and a suffix: a target that is gone, a delay no longer used."""
    names = {topic.name for topic in wanted}
    return tuple(
        sorted(
            name
            for name in existing
            if name not in names and any(name.startswith(f"{known}.") for known in names)
        )
    )
