"""From the conditions of the topology to checks, once, before the first message."""

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any
from zoneinfo import ZoneInfo

from workers.core.patterns import compile_pattern
from workers.core.topology.routing import DAYS, Condition, TimeOfDay
from workers.policies import conditions as c
from workers.policies.classify import fold


@dataclass(slots=True)
class Compiler:
    """Compiles conditions; collects all their keywords for one index."""

    keywords: list[tuple[str, int]] = field(default_factory=list)
    _owners: int = 0

    def compile(self, when: Condition) -> c.AllOf:
        """The checks of one condition, the cheap ones first. Raises `ValueError` where it can't work."""
        checks: list[c.Check] = []
        if when.source:
            checks.append(c.Source(frozenset(when.source)))
        if when.tenant:
            checks.append(c.Tenant(frozenset(when.tenant)))
        checks.extend(c.Context(path, _wanted(value)) for path, value in when.context.items())
        checks.extend(self._of_text(when))
        checks.extend(self.compile(each) for each in when.all)
        if when.any:
            checks.append(c.AnyOf(tuple(self._alone(each) for each in when.any)))
        if when.negated is not None:
            checks.append(c.Not(self._alone(when.negated)))
        if when.intent:
            checks.append(c.About(frozenset(when.intent), when.min_confidence or 0.0))
        return c.AllOf(tuple(checks))

    def _of_text(self, when: Condition) -> Iterable[c.Check]:
        if when.time is not None:
            yield _span(when.time)
        if when.length is not None:
            most = when.length.max
            yield c.TextLength(when.length.min, float("inf") if most is None else most)
        if when.keywords:
            yield self._keywords(when.keywords)
        if when.pattern is not None:
            yield c.Pattern(compile_pattern(when.pattern))
        if when.language:
            yield c.InLanguage(frozenset(when.language))

    def _keywords(self, keywords: tuple[str, ...]) -> c.Keywords:
        if not all(fold(keyword) for keyword in keywords):
            raise ValueError("a keyword is empty")
        number = self._owners
        self._owners += 1
        self.keywords.extend((keyword, number) for keyword in keywords)
        return c.Keywords(number, len(keywords))

    def _alone(self, when: Condition) -> c.Check:
        """Without the shell around a single check."""
        compiled = self.compile(when)
        return compiled.checks[0] if len(compiled.checks) == 1 else compiled


def intents_of(check: c.Check) -> frozenset[str]:
    """The intents that a check, and those in it, ask for."""
    match check:
        case c.About():
            return check.wanted
        case c.AllOf() | c.AnyOf():
            return frozenset().union(*(intents_of(each) for each in check.checks))
        case c.Not():
            return intents_of(check.check)
        case _:
            return frozenset()


def _wanted(value: Any) -> tuple[Any, ...]:
    return tuple(value) if isinstance(value, list | tuple) else (value,)


def _span(time: TimeOfDay) -> c.Span:
    days = frozenset(DAYS.index(day) for day in time.days)
    return c.Span(_minutes(time.start), _minutes(time.end) or 24 * 60, ZoneInfo(time.zone), days)


def _minutes(clock: str) -> int:
    hours, _, minutes = clock.partition(":")
    return int(hours) * 60 + int(minutes)
