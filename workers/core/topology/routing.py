"""The typed form of `intents` and `routes`: what a message may be asked, and where it goes."""

import json
import re
from collections.abc import Mapping
from typing import Annotated, Any, Literal, TypeVar
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from pydantic import AfterValidator, BeforeValidator, Field

from workers.core.topology.base import Strict, Text, TextList
from workers.core.topology.values import Count, Number, one_or_many

UNKNOWN = "unknown"
"""The intent of a message that is about none of the others. Its examples, where there are any, are what it is not."""

Language = Literal["zh", "ja", "ko", "en", "other"]
Day = Literal["mon", "tue", "wed", "thu", "fri", "sat", "sun"]
DAYS: tuple[Day, ...] = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")

T = TypeVar("T")

_CLOCK = re.compile(r"([01][0-9]|2[0-3]):([0-5][0-9])")


def clock_time(value: str) -> str:
    """Refuse what is not a time of day."""
    if _CLOCK.fullmatch(value) is None:
        raise ValueError("must be a time of day, from 00:00 to 23:59, in quotes")
    return value


def time_zone(value: str) -> str:
    """Refuse what is not a time zone of the IANA database."""
    try:
        ZoneInfo(value)
    except (ZoneInfoNotFoundError, ValueError, OSError):
        raise ValueError("is no time zone; write one like Europe/Berlin, Asia/Shanghai or UTC") from None
    return value


def some(values: tuple[T, ...]) -> tuple[T, ...]:
    """Refuse an empty list."""
    if not values:
        raise ValueError("must not be empty")
    return values


class Length(Strict):
    """How long the text is, in characters; both ends belong to it."""

    min: Count = Field(default=0, ge=0)
    max: Count | None = Field(default=None, ge=0)


class TimeOfDay(Strict):
    """When the message is routed: from `from` on and before `to`, on the clock of `zone`.

    A span that ends before it begins goes past midnight; `days` are those on which it begins.
    """

    start: Annotated[str, AfterValidator(clock_time)] = Field(default="00:00", alias="from")
    end: Annotated[str, AfterValidator(clock_time)] = Field(default="00:00", alias="to")
    zone: Annotated[str, AfterValidator(time_zone)]
    days: Annotated[tuple[Day, ...], BeforeValidator(one_or_many), AfterValidator(some)] = DAYS


class Condition(Strict):
    """What a route asks of a message; every given field must hold. Empty: holds for all."""

    keywords: TextList = Field(default=(), min_length=1)
    pattern: Text | None = None
    source: TextList = Field(default=(), min_length=1)
    tenant: TextList = Field(default=(), min_length=1)
    context: dict[str, Any] = Field(default_factory=dict)  # dotted path in payload.context -> wanted value
    language: Annotated[tuple[Language, ...], BeforeValidator(one_or_many), AfterValidator(some)] = ()
    length: Length | None = None
    time: TimeOfDay | None = None
    intent: TextList = Field(default=(), min_length=1)
    min_confidence: Number | None = Field(default=None, ge=0, le=1)
    all: tuple["Condition", ...] = Field(default=(), min_length=1)
    any: tuple["Condition", ...] = Field(default=(), min_length=1)
    negated: "Condition | None" = Field(default=None, alias="not")


class Canary(Strict):
    """A part of a route's keys, in percent, that another target answers instead."""

    to: str
    percent: Number = Field(gt=0, le=100)


class Shadow(Strict):
    """A part of a route's keys, in percent, of which another target gets a copy; its answer is recorded beside."""

    to: str
    percent: Number = Field(default=100, gt=0, le=100)


def alone(value: object) -> object:
    """A target's name stands for all of the keys."""
    return {"to": value} if isinstance(value, str) else value


class Route(Strict):
    """A rule; the first that holds wins. Of several equivalent targets it leads to the one that it prefers."""

    name: Annotated[Text, Field(max_length=100)]
    when: Condition = Condition()
    targets: Annotated[TextList, AfterValidator(some)] = Field(alias="to")
    prefer: Literal["cheapest", "fastest"] | None = None
    canary: Canary | None = None
    shadow: Annotated[Shadow | None, BeforeValidator(alone, json_schema_input_type=Shadow | str | None)] = (
        None
    )

    @property
    def to(self) -> str:
        """Its target; of several the first."""
        return self.targets[0]


class Intent(Strict):
    """What the classifier learns one intent from."""

    examples: TextList = Field(min_length=1)


def labelled_lines(value: object) -> object:
    """Intents from text, as `${file:PATH}` gives it: a JSON object a line, with `text` and `intent`."""
    if not isinstance(value, str):
        return value
    intents: dict[str, list[str]] = {}
    for number, line in enumerate(value.splitlines(), 1):
        if not line.strip():
            continue
        try:
            labelled = json.loads(line)
        except (ValueError, RecursionError):
            labelled = None
        text, intent = _labels(labelled)
        if text is None or intent is None:
            raise ValueError(f"line {number} is not a JSON object with the texts `text` and `intent`")
        intents.setdefault(intent, []).append(text)
    return {name: {"examples": examples} for name, examples in intents.items()}


def _labels(labelled: object) -> tuple[str | None, str | None]:
    if not isinstance(labelled, Mapping):
        return None, None
    text, intent = labelled.get("text"), labelled.get("intent")
    return text if isinstance(text, str) else None, intent if isinstance(intent, str) else None


Intents = Annotated[
    dict[str, Intent], BeforeValidator(labelled_lines, json_schema_input_type=dict[str, Intent] | str)
]
"""By name; or a text of labelled lines, from a file."""
