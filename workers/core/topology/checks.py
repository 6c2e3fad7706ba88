"""What no single field can tell: names that lead nowhere, rules that are never reached, numbers that contradict."""

import re
from collections.abc import Iterator, Mapping

from workers.core.topology.check_addresses import check_instances, check_kafka, check_stores
from workers.core.topology.check_numbers import check_numbers, check_once
from workers.core.topology.check_pattern import check_pattern
from workers.core.topology.check_sql import check_sql
from workers.core.topology.check_topics import check_topics
from workers.core.topology.model import (
    Condition,
    OpenAITarget,
    Route,
    SqlTarget,
    Target,
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
    yield from _routes(parts)
    for name, target in parts.targets.items():
        yield from _target(name, target, parts)
    yield from _fallback_loops(parts)
    if parts.topics is not None:
        named = {name: target for name, target in parts.targets.items() if _TARGET_NAME.fullmatch(name)}
        yield from check_topics(parts.topics, named)


def _routes(parts: Parts) -> Iterator[Fault]:
    names: dict[str, int] = {}
    conditions: dict[str, str] = {}
    for index, route in parts.routes:
        path: Path = ("routes", index)
        if route.name in names:
            yield Fault(
                (*path, "name"),
                f"{route.name!r} is the name of routes[{names[route.name]}] already",
                "rename one",
            )
        names.setdefault(route.name, index)
        if route.to not in parts.declared:
            yield Fault(
                (*path, "to"), f"there is no target {route.to!r}", did_you_mean(route.to, parts.declared)
            )
        yield from _blank((*path, "when"), route.when)
        if route.when.pattern is not None:
            yield from check_pattern((*path, "when", "pattern"), route.when.pattern)
        if index not in parts.mended:
            yield from _reached(index, route, conditions, parts.last_route)


def _reached(index: int, route: Route, conditions: dict[str, str], last: int) -> Iterator[Fault]:
    """Rules run from the top: one behind the same or an unconditional rule never gets a message."""
    always = _unconditional(route.when)
    key = route.when.model_dump_json()
    before = conditions.get(Condition().model_dump_json()) or conditions.get(key)
    if before is not None:
        yield Fault(
            ("routes", index),
            f"is never reached: {before!r} before it takes its messages",
            "move it up, or remove it",
        )
    elif index == last and not always:
        yield Fault(
            ("routes", index, "when"),
            "the last route must take every message that is left",
            "end the list with `{name: default, to: …}`",
            at_key=True,
        )
    conditions.setdefault(key, route.name)


def _blank(path: Path, when: Condition) -> Iterator[Fault]:
    for field, texts in (("keywords", when.keywords), ("source", when.source), ("context", when.context)):
        for index, text in enumerate(texts):
            if not text.strip():
                at = (*path, field) if field == "context" else (*path, field, index)
                yield Fault(at, "must not be blank", "remove it")


def _unconditional(when: Condition) -> bool:
    return when == Condition()


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
            yield from check_instances(path, target)
        case SqlTarget():
            yield from check_sql(path, target)


def _fallbacks(name: str, target: Target, declared: frozenset[str]) -> Iterator[Fault]:
    for index, other in enumerate(target.fallback):
        at = ("targets", name, "fallback", index)
        if other not in declared:
            yield Fault(at, f"there is no target {other!r}", did_you_mean(other, declared - {name}))
        elif other in target.fallback[:index]:
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
    for index, other in enumerate(targets[name].fallback):
        if other == name:
            yield Fault(
                ("targets", name, "fallback", index), "a target can't be its own fallback", "remove it"
            )
        elif other in trail:
            loop = " -> ".join((*trail[trail.index(other) :], name, other))
            yield Fault(
                ("targets", name, "fallback", index),
                f"fallbacks go in a circle: {loop}",
                "break it at one place",
            )
        else:
            yield from _follow(other, (*trail, name), done, targets)
    done.add(name)
