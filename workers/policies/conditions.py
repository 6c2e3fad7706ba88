"""The conditions of a route, each one a check with reasons. Reasons name the condition and never quote the text."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Protocol
from zoneinfo import ZoneInfo

import re2

from workers.core.patterns import LinearPattern
from workers.core.topology.routing import DAYS
from workers.policies.classify import context_value
from workers.policies.subject import Subject

_WIDE = re2.compile("[\uff10-\uff19\uff21-\uff3a\uff41-\uff5a]")
_NARROW = {wide: wide - 0xFEE0 for wide in range(0xFF10, 0xFF5B)}


class Check(Protocol):
    """One condition."""

    def holds(self, subject: Subject) -> bool:
        """Whether it holds."""

    def why(self, subject: Subject) -> str:
        """Why it holds or does not, for people."""


@dataclass(frozen=True, slots=True)
class Source:
    """`source`."""

    wanted: frozenset[str]

    def holds(self, subject: Subject) -> bool:
        """See `Check`."""
        return subject.request.source in self.wanted

    def why(self, subject: Subject) -> str:
        """See `Check`."""
        source = subject.request.source
        return f"source is {source}" + ("" if self.holds(subject) else f", not {_either(self.wanted)}")


@dataclass(frozen=True, slots=True)
class Tenant:
    """`tenant`."""

    wanted: frozenset[str]

    def holds(self, subject: Subject) -> bool:
        """See `Check`."""
        return subject.tenant() in self.wanted

    def why(self, subject: Subject) -> str:
        """See `Check`."""
        tenant = subject.tenant()
        if tenant is None:
            return "the message names no tenant"
        return f"tenant is {tenant}" + ("" if self.holds(subject) else f", not {_either(self.wanted)}")


@dataclass(frozen=True, slots=True)
class Context:
    """One field of `context`."""

    path: str
    wanted: tuple[Any, ...]

    def holds(self, subject: Subject) -> bool:
        """See `Check`."""
        there, value = context_value(subject.request.payload.context, self.path)
        return there and any(_same(value, each) for each in self.wanted)

    def why(self, subject: Subject) -> str:
        """See `Check`."""
        there, _ = context_value(subject.request.payload.context, self.path)
        if not there:
            return f"context has no {self.path}"
        return f"context {self.path} " + ("is as wanted" if self.holds(subject) else "has another value")


@dataclass(frozen=True, slots=True)
class TextLength:
    """`length`, in characters."""

    least: int
    most: float

    def holds(self, subject: Subject) -> bool:
        """See `Check`."""
        return self.least <= len(subject.text()) <= self.most

    def why(self, subject: Subject) -> str:
        """See `Check`."""
        wanted = f"{self.least} to {self.most}" if self.most != float("inf") else f"{self.least} or more"
        held = "" if self.holds(subject) else "not "
        return f"the text has {len(subject.text())} characters, {held}{wanted}"


@dataclass(frozen=True, slots=True)
class Span:
    """`time`: minutes of the day in `zone`, on these days of the week (Monday is 0); past midnight if it ends first."""

    start: int
    end: int
    zone: ZoneInfo
    days: frozenset[int]

    def holds(self, subject: Subject) -> bool:
        """See `Check`."""
        here = datetime.fromtimestamp(subject.asked.at, self.zone)
        minute, day = here.hour * 60 + here.minute, here.weekday()
        if self.start < self.end:
            return self.start <= minute < self.end and day in self.days
        if minute >= self.start:
            return day in self.days
        return minute < self.end and (day - 1) % 7 in self.days

    def why(self, subject: Subject) -> str:
        """See `Check`."""
        here = datetime.fromtimestamp(subject.asked.at, self.zone)
        span = f"{_clock(self.start)} to {_clock(self.end)}" + (
            "" if len(self.days) == len(DAYS) else " on its days"
        )
        held = "within" if self.holds(subject) else "not within"
        return f"it is {DAYS[here.weekday()]} {here:%H:%M} in {self.zone.key}, {held} {span}"


@dataclass(frozen=True, slots=True)
class Keywords:
    """`keywords`; `number` is their owner in the index."""

    number: int
    count: int

    def holds(self, subject: Subject) -> bool:
        """See `Check`."""
        return self.number in subject.keywords()

    def why(self, subject: Subject) -> str:
        """See `Check`."""
        keyword = subject.keywords().get(self.number)
        if keyword is not None:
            return f"keyword '{keyword}' is in the text"
        return f"none of {self.count} keyword{'s' if self.count > 1 else ''} is in the text"


@dataclass(frozen=True, slots=True)
class Pattern:
    """`pattern`, in the text as it came and with full-width letters and digits as plain ones."""

    pattern: LinearPattern

    def holds(self, subject: Subject) -> bool:
        """See `Check`."""
        text = subject.text()
        if self.pattern.found_in(text):
            return True
        return (
            not text.isascii() and bool(_WIDE.search(text)) and self.pattern.found_in(text.translate(_NARROW))
        )

    def why(self, subject: Subject) -> str:
        """See `Check`."""
        return f"pattern '{self.pattern.pattern}' is {'found' if self.holds(subject) else 'not found'}"


@dataclass(frozen=True, slots=True)
class InLanguage:
    """`language`."""

    wanted: frozenset[str]

    def holds(self, subject: Subject) -> bool:
        """See `Check`."""
        return subject.language() in self.wanted

    def why(self, subject: Subject) -> str:
        """See `Check`."""
        language = subject.language()
        return f"language is {language}" + ("" if self.holds(subject) else f", not {_either(self.wanted)}")


@dataclass(frozen=True, slots=True)
class About:
    """`intent` and `min_confidence`."""

    wanted: frozenset[str]
    least: float

    def holds(self, subject: Subject) -> bool:
        """See `Check`."""
        guess = subject.guess()
        return guess is not None and guess.intent in self.wanted and guess.confidence >= self.least

    def why(self, subject: Subject) -> str:
        """See `Check`."""
        guess = subject.guess()
        if guess is None:
            return "there is no classifier"
        said = f"intent is {guess.intent} with confidence {guess.confidence:.2f}"
        if guess.intent not in self.wanted:
            return f"{said}, not {_either(self.wanted)}"
        if not self.least:
            return said
        return f"{said}, {'at least' if self.holds(subject) else 'below'} min_confidence {self.least:g}"


@dataclass(frozen=True, slots=True)
class AllOf:
    """Everything in one `when`, or `all`."""

    checks: tuple[Check, ...]

    def holds(self, subject: Subject) -> bool:
        """See `Check`."""
        for check in self.checks:  # noqa: SIM110 - a generator costs as much as most checks
            if not check.holds(subject):
                return False
        return True

    def why(self, subject: Subject) -> str:
        """The first that fails is the reason against."""
        reasons: list[str] = []
        for check in self.checks:
            if not check.holds(subject):
                return check.why(subject)
            reasons.append(check.why(subject))
        return "; ".join(reasons) or "it has no conditions"


@dataclass(frozen=True, slots=True)
class AnyOf:
    """`any`."""

    checks: tuple[Check, ...]

    def holds(self, subject: Subject) -> bool:
        """See `Check`."""
        return any(check.holds(subject) for check in self.checks)

    def why(self, subject: Subject) -> str:
        """The first that holds is the reason for."""
        for check in self.checks:
            if check.holds(subject):
                return check.why(subject)
        return "none of these holds: " + "; ".join(f"({check.why(subject)})" for check in self.checks)


@dataclass(frozen=True, slots=True)
class Not:
    """`not`."""

    check: Check

    def holds(self, subject: Subject) -> bool:
        """See `Check`."""
        return not self.check.holds(subject)

    def why(self, subject: Subject) -> str:
        """See `Check`."""
        return f"{'not so' if self.holds(subject) else 'excluded'}: {self.check.why(subject)}"


def _either(names: frozenset[str]) -> str:
    return " or ".join(sorted(names))


def _clock(minutes: int) -> str:
    return f"{minutes // 60:02}:{minutes % 60:02}"


def _same(value: Any, wanted: Any) -> bool:
    """Equality as JSON has it: true is not 1."""
    if isinstance(value, bool) is not isinstance(wanted, bool):
        return False
    if isinstance(value, Mapping) and isinstance(wanted, Mapping):
        return value.keys() == wanted.keys() and all(_same(value[key], wanted[key]) for key in value)
    return bool(value == wanted)
