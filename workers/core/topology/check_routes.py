"""Routes and intents: names that lead nowhere, rules that are never reached, conditions that can't hold."""

from collections.abc import Iterator, Mapping

from workers.core.patterns import PatternError, compile_pattern
from workers.core.topology.check_pattern import MAX_PATTERN
from workers.core.topology.parts import Parts
from workers.core.topology.problems import Fault, Path, did_you_mean
from workers.core.topology.routing import UNKNOWN, Condition, Intent, Length, Route, TimeOfDay

MAX_DEPTH = 8
"""How deep conditions nest."""
MAX_EXAMPLES = 50_000
"""Of all intents together."""


def check_routes(parts: Parts) -> Iterator[Fault]:
    """Faults of `routes`."""
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
        yield from _leads_to(path, route, parts.declared)
        yield from _condition((*path, "when"), route.when, parts.intents, 1)
        if index not in parts.mended:
            yield from _reached(index, route, conditions, parts.last_route)


def _leads_to(path: Path, route: Route, declared: frozenset[str]) -> Iterator[Fault]:
    several = len(route.targets) > 1
    places: list[tuple[Path, str]] = [
        ((*path, "to", index) if several else (*path, "to"), target)
        for index, target in enumerate(route.targets)
    ]
    yield from _preference(path, route, places)
    if route.canary is not None:
        places.append(((*path, "canary", "to"), route.canary.to))
    if route.shadow is not None:
        places.append(((*path, "shadow", "to"), route.shadow.to))
    for at, target in places:
        if target not in declared:
            yield Fault(at, f"there is no target {target!r}", did_you_mean(target, declared))
        elif target in route.targets and at[len(path)] != "to":
            yield Fault(at, f"{target!r} is where the route leads anyway", "name another target")


def _preference(path: Path, route: Route, places: list[tuple[Path, str]]) -> Iterator[Fault]:
    if len(places) > 1 and route.prefer is None:
        yield Fault(
            (*path, "to"), "several targets, and nothing to choose by", "say `prefer: cheapest` or `fastest`"
        )
    if len(places) == 1 and route.prefer is not None:
        yield Fault((*path, "prefer"), "does nothing with one target", "name several in `to`", at_key=True)
    for index, (at, target) in enumerate(places):
        if target in route.targets[:index]:
            yield Fault(at, f"{target!r} is in the list already", "name it once")


def check_intents(intents: Mapping[str, Intent]) -> Iterator[Fault]:
    """Faults of `intents`."""
    if len(intents) == 1:
        yield Fault(("intents",), "one intent can't be told from any other", f"add one, such as `{UNKNOWN}`")
    seen: dict[str, str] = {}
    for name, intent in intents.items():
        if not name.strip():
            yield Fault(("intents", name), "an intent needs a name", at_key=True)
        for index, example in enumerate(intent.examples):
            text = " ".join(example.split()).casefold()
            at = ("intents", name, "examples", index)
            if not text:
                yield Fault(at, "must not be blank", "remove it")
            elif seen.setdefault(text, name) != name:
                yield Fault(at, f"is an example of {seen[text]!r} too", "keep it in one of them")
    count = sum(len(intent.examples) for intent in intents.values())
    if count > MAX_EXAMPLES:
        yield Fault(("intents",), f"there are {count:,} examples, {MAX_EXAMPLES:,} are the most")


def _reached(index: int, route: Route, conditions: dict[str, str], last: int) -> Iterator[Fault]:
    """Rules run from the top: one behind the same or an unconditional rule never gets a message."""
    key = route.when.model_dump_json()
    before = conditions.get(Condition().model_dump_json()) or conditions.get(key)
    if before is not None:
        yield Fault(
            ("routes", index),
            f"is never reached: {before!r} before it takes its messages",
            "move it up, or remove it",
        )
    elif index == last and route.when != Condition():
        yield Fault(
            ("routes", index, "when"),
            "the last route must take every message that is left",
            "end the list with `{name: default, to: …}`",
            at_key=True,
        )
    conditions.setdefault(key, route.name)


def _condition(path: Path, when: Condition, intents: Mapping[str, Intent], depth: int) -> Iterator[Fault]:
    if depth > MAX_DEPTH:
        yield Fault(path, f"conditions nest deeper than {MAX_DEPTH}", "make several rules of it")
        return
    yield from _blank(path, when)
    yield from _intent(path, when, intents)
    if when.pattern is not None:
        yield from _pattern((*path, "pattern"), when.pattern)
    if when.length is not None:
        yield from _length((*path, "length"), when.length)
    if when.time is not None:
        yield from _time((*path, "time"), when.time)
    inner: list[tuple[Path, Condition]] = []
    inner += [((*path, "all", index), each) for index, each in enumerate(when.all)]
    inner += [((*path, "any", index), each) for index, each in enumerate(when.any)]
    if when.negated is not None:
        inner.append(((*path, "not"), when.negated))
    for at, each in inner:
        if each == Condition():
            yield Fault(at, "asks for nothing, so it holds for every message", "remove it, or fill it")
        yield from _condition(at, each, intents, depth + 1)


def _blank(path: Path, when: Condition) -> Iterator[Fault]:
    for field in ("keywords", "source", "tenant", "context"):
        for index, text in enumerate(getattr(when, field)):
            if not text.strip():
                at = (*path, field) if field == "context" else (*path, field, index)
                yield Fault(at, "must not be blank", "remove it")


def _intent(path: Path, when: Condition, intents: Mapping[str, Intent]) -> Iterator[Fault]:
    if when.min_confidence is not None and not when.intent:
        yield Fault((*path, "min_confidence"), "does nothing without `intent`", "name one", at_key=True)
    for index, name in enumerate(when.intent):
        at = (*path, "intent") if len(when.intent) == 1 else (*path, "intent", index)
        if not intents:
            yield Fault(at, "there are no intents to choose from", "give examples in `intents`")
        elif name not in intents and name != UNKNOWN:
            yield Fault(at, f"there is no intent {name!r}", did_you_mean(name, {*intents, UNKNOWN}))


def _pattern(path: Path, pattern: str) -> Iterator[Fault]:
    if len(pattern) > MAX_PATTERN:
        yield Fault(path, f"has {len(pattern):,} characters, {MAX_PATTERN:,} are the most", "split the rule")
        return
    try:
        compile_pattern(pattern)
    except PatternError as error:
        reason = str(error)
        advice = None
        if "perl operator" in reason or "escape sequence" in reason:
            advice = (
                "look-around and back references take time without bound; `all`, `any` and `not` are there"
            )
        elif "repetition size" in reason or "too large" in reason:
            advice = "make it smaller"
        yield Fault(path, f"is not a regular expression (RE2): {reason}", advice)


def _length(path: Path, length: Length) -> Iterator[Fault]:
    if length.max is not None and length.min > length.max:
        yield Fault(path, f"no text has {length.min} characters or more and {length.max} or fewer")


def _time(path: Path, time: TimeOfDay) -> Iterator[Fault]:
    if time.start == time.end and "start" in time.model_fields_set:
        yield Fault(path, "begins when it ends", "leave `from` and `to` out for the whole day")
