"""The typed form of a target's `fallback`: where messages go on to, by what went wrong."""

from collections.abc import Iterator, Mapping
from typing import Annotated, Any, cast

from pydantic import BeforeValidator, InstanceOf, PlainSerializer, WithJsonSchema

from schemas.errors import ErrorClass
from workers.core.topology.problems import did_you_mean
from workers.core.topology.values import one_or_many

DEFAULT = "default"
FALLS_BACK = (
    ErrorClass.RATE_LIMITED,
    ErrorClass.OVERLOADED,
    ErrorClass.TIMEOUT,
    ErrorClass.CONNECT,
    ErrorClass.UPSTREAM_5XX,
    ErrorClass.UPSTREAM_4XX,
    ErrorClass.AUTH,
    ErrorClass.CONTENT_FILTER,
    ErrorClass.CONTEXT_LENGTH,
)
"""Failures that another target may mend; the others are the message's own, or ours."""
_KEYS = (*(each.value for each in FALLS_BACK), DEFAULT)
_WHEN_OPEN = "when_open"

Place = tuple[str | int, ...]


class Fallback(tuple[str, ...]):
    """All targets that messages may go on to, each once; `lists` says which for what.

    A plain list is for messages that find every breaker open, and is kept under `when_open` alone.
    """

    lists: Mapping[str, tuple[str, ...]]

    def __new__(cls, lists: Mapping[str, tuple[str, ...]] | None = None) -> "Fallback":
        """Of lists by class, `default`, or `when_open`."""
        lists = lists or {}
        made = super().__new__(cls, dict.fromkeys(name for names in lists.values() for name in names))
        made.lists = lists
        return made

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Fallback) and self.lists == other.lists

    def __hash__(self) -> int:
        return hash(tuple(sorted(self.lists.items())))

    def of(self, error_class: ErrorClass) -> tuple[str, ...]:
        """Where a message that failed like this goes on to; a plain list is not for failures."""
        if error_class not in FALLS_BACK:
            return ()
        return self.lists.get(error_class, self.lists.get(DEFAULT, ()))

    @property
    def when_open(self) -> tuple[str, ...]:
        """Where messages go on to that find every breaker open."""
        return self.lists.get(_WHEN_OPEN) or self.of(ErrorClass.OVERLOADED)

    def places(self) -> Iterator[tuple[Place, str, tuple[str, ...]]]:
        """Every name with its place under `fallback`, and those before it in its list."""
        for key, names in self.lists.items():
            base: Place = () if key == _WHEN_OPEN else (key,)
            for index, name in enumerate(names):
                yield (*base, index), name, names[:index]

    def as_written(self) -> Any:
        """The form of the file."""
        if not self.lists or self.lists.keys() == {_WHEN_OPEN}:
            return list(self)
        return {str(key): list(names) for key, names in self.lists.items()}


def parse_fallback(value: object) -> object:
    """A list of targets, or a mapping of classes of failure to such lists."""
    if isinstance(value, Fallback):
        return value
    if isinstance(value, Mapping):
        unknown = [str(key) for key in value if key not in _KEYS]
        if unknown:
            advice = did_you_mean(unknown[0], _KEYS)
            listed = f"known: {', '.join(_KEYS)}"
            raise ValueError(f"no failure of class {unknown[0]!r} falls back; {advice or listed}")
        return Fallback({str(key): _names(names, f"`{key}` ") for key, names in value.items()})
    names = _names(value, "")
    return Fallback({_WHEN_OPEN: names} if names else {})


def _names(value: object, whose: str) -> tuple[str, ...]:
    names = one_or_many(value)
    if not isinstance(names, list | tuple) or not all(isinstance(name, str) for name in names):
        raise ValueError(f"{whose}must be a list of targets")
    return tuple(cast("list[str]", names))


_LIST = {"anyOf": [{"type": "string"}, {"type": "array", "items": {"type": "string"}}]}

Fallbacks = Annotated[
    InstanceOf[Fallback],
    BeforeValidator(parse_fallback),
    PlainSerializer(lambda fallback: fallback.as_written()),
    WithJsonSchema(
        {
            "anyOf": [
                *_LIST["anyOf"],
                {
                    "type": "object",
                    "properties": dict.fromkeys(_KEYS, _LIST),
                    "additionalProperties": False,
                },
            ]
        }
    ),
]
