"""`{payload.text}` in what is sent to a backend: a path into the request envelope, never code."""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

ROOTS = ("envelope", "message_id", "source", "payload", "timestamp")
"""What a path may start with; `envelope` is all of it."""

_TOKEN = re.compile(r"\{\{|\}\}|\{([^{}]*)\}|[{}]")
_PATH = re.compile(r"[^\s{}.?!\[\]]+(?:\.[^\s{}.?!\[\]]+)*")


@dataclass(frozen=True, slots=True)
class Placeholder:
    """A path into the envelope. An `optional` one may lead nowhere."""

    path: tuple[str, ...]
    optional: bool = False

    def __str__(self) -> str:
        return ".".join(self.path)


Part = str | Placeholder


def parse(text: str) -> tuple[Part, ...]:
    """The text in its literal parts and placeholders; `{{` and `}}` stand for the braces themselves.

    Raises `ValueError` that says what is wrong, in words that go behind the name of a field.
    """
    parts: list[Part] = []
    end = 0
    for match in _TOKEN.finditer(text):
        parts.append(text[end : match.start()])
        end = match.end()
        if match[0] in ("{{", "}}"):
            parts.append(match[0][0])
        elif match[1] is None:
            raise ValueError(f"has a `{match[0]}` alone; write `{match[0] * 2}` for a plain one")
        else:
            parts.append(_placeholder(match[1]))
    parts.append(text[end:])
    return _joined(parts)


def _placeholder(inner: str) -> Placeholder:
    path = inner.removesuffix("?")
    if _PATH.fullmatch(path) is None:
        raise ValueError(f"has {{{inner}}}, which is no path; write for example {{payload.text}}")
    parts = tuple(path.split("."))
    if parts[0] not in ROOTS:
        raise ValueError(f"has {{{inner}}}, and a path starts with one of {', '.join(ROOTS)}")
    return Placeholder(parts, optional=inner.endswith("?"))


def _joined(parts: list[Part]) -> tuple[Part, ...]:
    """Neighbouring texts as one, empty ones left out."""
    joined: list[Part] = []
    for part in parts:
        if isinstance(part, str) and joined and isinstance(joined[-1], str):
            joined[-1] += part
        elif part != "":
            joined.append(part)
    return tuple(joined)


def texts(template: Any, path: tuple[str | int, ...] = ()) -> Iterator[tuple[tuple[str | int, ...], str]]:
    """Every text in a JSON template, with where it stands; keys are no templates."""
    match template:
        case str():
            yield path, template
        case dict():
            for name, inner in template.items():
                yield from texts(inner, (*path, name))
        case list():
            for index, inner in enumerate(template):
                yield from texts(inner, (*path, index))
        case _:
            return
