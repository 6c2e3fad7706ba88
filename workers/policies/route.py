"""Which target answers a message: the routes of the topology, compiled once, asked for every message."""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import Any

from schemas.envelope import Request
from workers.core.errors import UsageError
from workers.core.topology.model import Condition, Topology
from workers.policies.classify import KeywordIndex, context_value, fold, text_of

PATTERN_CHARACTERS = 4_096
"""How much of a text a `pattern` sees: Python's `re` can take exponential time, and this bounds what it is fed."""


@dataclass(frozen=True, slots=True)
class Decision:
    """Where a message goes. `confidence` is 1 for everything but an intent."""

    target: str
    rule: str
    confidence: float = 1.0


@dataclass(frozen=True, slots=True)
class Explanation:
    """What one rule says about a message, for people."""

    rule: str
    target: str
    matched: bool
    why: str


@dataclass(slots=True)
class Subject:
    """A message as the rules see it; what costs something is worked out when a rule first asks."""

    request: Request
    index: KeywordIndex
    _text: str | None = None
    _keywords: dict[int, str] | None = None

    def text(self) -> str:
        """The text as it came, cut to what the classifier looks at."""
        if self._text is None:
            self._text = text_of(self.request)
        return self._text

    def keywords(self) -> dict[int, str]:
        """The numbers of the rules of which a keyword is in the text, with that keyword."""
        if self._keywords is None:
            self._keywords = self.index.find(fold(self.text()))
        return self._keywords


Check = Callable[[Subject], tuple[bool, str]]
"""One condition: whether it holds, and why, without quoting the text."""


@dataclass(frozen=True, slots=True)
class Rule:
    """A route, compiled: all checks must hold; without any it always holds."""

    name: str
    target: str
    checks: tuple[Check, ...]

    def holds(self, subject: Subject) -> bool:
        """Whether the message takes this route."""
        return all(check(subject)[0] for check in self.checks)

    def explain(self, subject: Subject) -> Explanation:
        """The same with reasons; the first condition that fails is the reason against."""
        reasons: list[str] = []
        for check in self.checks:
            holds, why = check(subject)
            if not holds:
                return Explanation(self.name, self.target, matched=False, why=why)
            reasons.append(why)
        return Explanation(
            self.name, self.target, matched=True, why="; ".join(reasons) or "it has no conditions"
        )


@dataclass(frozen=True, slots=True)
class Router:
    """The compiled routes of one topology. Immutable, so a new topology is a new router."""

    rules: tuple[Rule, ...]
    index: KeywordIndex = field(repr=False)

    def decide(self, request: Request) -> Decision | None:
        """The first rule that holds; None where none does."""
        subject = Subject(request, self.index)
        for rule in self.rules:
            if rule.holds(subject):
                return Decision(rule.target, rule.name)
        return None

    def explain(self, request: Request) -> list[Explanation]:
        """What every rule says, in order; the first that matched is the decision."""
        subject = Subject(request, self.index)
        return [rule.explain(subject) for rule in self.rules]


def compile_routes(topology: Topology) -> Router:
    """Compile the routes; raises `UsageError` that names the route at fault."""
    keywords: list[tuple[str, int]] = []
    rules: list[Rule] = []
    for number, route in enumerate(topology.routes):
        if route.to not in topology.targets:
            raise UsageError(f"route {route.name!r} leads to {route.to!r}, which is not among the targets")
        try:
            checks = _compile(number, route.when)
        except (ValueError, re.error) as error:
            raise UsageError(f"route {route.name!r}: {error}") from error
        keywords.extend((keyword, number) for keyword in route.when.keywords)
        rules.append(Rule(route.name, route.to, checks))
    try:
        index = KeywordIndex.build(keywords)
    except ValueError as error:
        raise UsageError(f"routes: {error}") from error
    return Router(tuple(rules), index)


def _compile(number: int, when: Condition) -> tuple[Check, ...]:
    """The checks of one condition, the cheap ones first."""
    if when.intent is not None or when.min_confidence is not None:
        raise ValueError("`intent` and `min_confidence` are not supported yet; use keywords or a pattern")
    checks: list[Check] = []
    if when.source:
        checks.append(partial(_source, frozenset(when.source)))
    checks.extend(partial(_context, path, wanted) for path, wanted in when.context.items())
    if when.keywords:
        checks.append(partial(_keyword, number, len(when.keywords)))
    if when.pattern is not None:
        checks.append(partial(_pattern, re.compile(when.pattern)))
    return tuple(checks)


def _source(wanted: frozenset[str], subject: Subject) -> tuple[bool, str]:
    source = subject.request.source
    if source in wanted:
        return True, f"source is {source}"
    return False, f"source is {source}, not {' or '.join(sorted(wanted))}"


def _context(path: str, wanted: Any, subject: Subject) -> tuple[bool, str]:
    there, value = context_value(subject.request.payload.context, path)
    if not there:
        return False, f"context has no {path}"
    if any(_same(value, each) for each in (wanted if isinstance(wanted, list | tuple) else (wanted,))):
        return True, f"context {path} is as wanted"
    return False, f"context {path} has another value"


def _same(value: Any, wanted: Any) -> bool:
    """Equality as JSON has it: true is not 1."""
    if isinstance(value, bool) is not isinstance(wanted, bool):
        return False
    if isinstance(value, Mapping) and isinstance(wanted, Mapping):
        return value.keys() == wanted.keys() and all(_same(value[key], wanted[key]) for key in value)
    return bool(value == wanted)


def _keyword(number: int, count: int, subject: Subject) -> tuple[bool, str]:
    keyword = subject.keywords().get(number)
    if keyword is not None:
        return True, f"keyword {keyword!r} is in the text"
    return False, f"none of {count} keyword{'s' if count > 1 else ''} is in the text"


def _pattern(pattern: re.Pattern[str], subject: Subject) -> tuple[bool, str]:
    if pattern.search(subject.text()[:PATTERN_CHARACTERS]):
        return True, f"pattern {pattern.pattern!r} is found"
    return False, f"pattern {pattern.pattern!r} is not found"
