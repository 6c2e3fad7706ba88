"""Topics: legal names that don't collide, and nothing that is accepted at one that the next can't take."""

import re
from collections.abc import Iterator, Mapping

from workers.core.topology.delays import retry_delays
from workers.core.topology.model import Target, Topics, Topology
from workers.core.topology.problems import Fault, Path
from workers.core.topology.topics import Shape, dead_letters_floor, plan, requests_shape, target_shape
from workers.core.topology.values import format_duration

_NAME = re.compile(r"[a-zA-Z0-9._-]{1,249}")


def check_topics(topics: Topics, targets: Mapping[str, Target]) -> Iterator[Fault]:
    """Faults of the topics, those of the targets included."""
    yield from _names(topics, targets)
    yield from _dead_letters(topics, targets)
    for name, target in targets.items():
        yield from _target(("targets", name, "topic"), topics, target)
    if topics.ledger.retention is not None:
        yield Fault(
            ("topics", "dead_letter_ledger", "retention"),
            "the ledger is compacted: it keeps the last state of every dead letter for good",
            "leave it out",
        )


def _names(topics: Topics, targets: Mapping[str, Target]) -> Iterator[Fault]:
    taken: dict[str, tuple[str, Path]] = {}
    topology = Topology.model_construct(version=1, routes=(), topics=topics, targets=dict(targets))
    for planned in plan(topology):
        name = planned.topic.name
        at = _name_field(planned.field, topics, targets)
        wrong = _illegal(name)
        if wrong is not None:
            yield Fault(at, f"topic {name[:80]!r} {wrong}", "letters, digits, `.`, `_` and `-`, 249 at most")
            if at == ("topics", "model_requests", "name"):
                return  # most other names begin with this one
            continue
        key = name.replace(
            ".", "_"
        )  # Kafka refuses names that differ in this alone: their metrics would collide
        if key in taken and taken[key][1] != at:
            yield Fault(
                at,
                f"topic {name!r} collides with topic {taken[key][0]!r}",
                "rename one: Kafka takes `.` and `_` for the same",
            )
        taken.setdefault(key, (name, at))


def _name_field(field: Path, topics: Topics, targets: Mapping[str, Target]) -> Path:
    """The field that gave a topic its name."""
    if field[0] == "targets":
        return (*field, "topic", "name") if targets[str(field[1])].topic.name is not None else field
    return (*field, "name")


def _illegal(name: str) -> str | None:
    if name in {".", ".."} or _NAME.fullmatch(name) is None:
        return "has no legal name"
    return "is one of Kafka's own" if name.startswith("__") else None


def _dead_letters(topics: Topics, targets: Mapping[str, Target]) -> Iterator[Fault]:
    floor, given = dead_letters_floor(topics, targets), topics.dead_letters
    path: Path = ("topics", "dlq.model_requests")
    if given.partitions is not None and given.partitions < floor.partitions:
        yield Fault(
            (*path, "partitions"),
            f"a topic whose dead letters it takes has {floor.partitions} partitions",
            "give it as many, or leave it out",
        )
    if given.max_message_bytes is not None and given.max_message_bytes < floor.max_message_bytes:
        yield Fault(
            (*path, "max_message_bytes"),
            f"the largest message and its headers need {floor.max_message_bytes:,} bytes",
            "give it as much, or leave it out",
        )


def _target(path: Path, topics: Topics, target: Target) -> Iterator[Fault]:
    requests: Shape = requests_shape(topics)
    shape = target_shape(topics, target)
    if shape.max_message_bytes < requests.max_message_bytes:
        yield Fault(
            (*path, "max_message_bytes"),
            f"the requests' topic takes messages of {requests.max_message_bytes:,} bytes",
            "give it at least as much, or leave it out",
        )
    longest = max((seconds for _, seconds in retry_delays(target)), default=0.0)
    if shape.retention is not None and shape.retention <= longest:
        at: Path = (*path, "retention") if target.topic.retention is not None else _retention_field(topics)
        yield Fault(
            at,
            f"{format_duration(shape.retention)} deletes messages that wait {format_duration(longest)} for a retry",
            "keep them longer",
        )


def _retention_field(topics: Topics) -> Path:
    given = topics.requests.retention is not None
    return ("topics", "model_requests" if given else "defaults", "retention")
