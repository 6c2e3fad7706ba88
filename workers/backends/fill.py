"""JSON and texts with values of the envelope in them; see `core.topology.placeholders` for what goes between braces.

A text that is one placeholder and nothing else takes the value as it is, a list or number too; within a longer text a
value becomes text. Where an optional one leads nowhere its field is left out, or nothing stands in its place.
"""

from collections.abc import Callable, Mapping
from typing import Any
from urllib.parse import quote

import orjson

from schemas.envelope import Request
from schemas.errors import ErrorClass
from workers.core.errors import PermanentError, UsageError
from workers.core.topology.placeholders import Part, Placeholder, parse

_ABSENT = object()
Envelope = Mapping[str, Any]


def envelope_of(request: Request) -> Envelope:
    """The request as templates see it."""
    return request.model_dump(exclude_none=True)


class Filling:
    """A template of JSON."""

    def __init__(self, field: str, template: Any) -> None:
        """`field` is what the topology calls it. Raises `UsageError` for what is no template."""
        self._field = field
        self._template = _compiled(field, template)

    def render(self, envelope: Envelope) -> Any:
        """The JSON value. Raises `PermanentError(schema)` where the envelope lacks what is needed."""
        value = self._fill(self._template, envelope)
        return None if value is _ABSENT else value

    def _fill(self, node: Any, envelope: Envelope) -> Any:
        match node:
            case tuple():
                return self._text(node, envelope)
            case dict():
                filled = {name: self._fill(inner, envelope) for name, inner in node.items()}
                return {name: value for name, value in filled.items() if value is not _ABSENT}
            case list():
                items = [self._fill(inner, envelope) for inner in node]
                return [item for item in items if item is not _ABSENT]
            case _:
                return node

    def _text(self, parts: tuple[Part, ...], envelope: Envelope) -> Any:
        if len(parts) == 1 and isinstance(parts[0], Placeholder):
            return _find(self._field, parts[0], envelope)
        return _joined(self._field, parts, envelope, _as_text)


class TextFilling:
    """A text for an address: values are percent-encoded, so that they stay within their place."""

    def __init__(self, field: str, text: str) -> None:
        """See `Filling`."""
        self._field = field
        self._parts = _parsed(field, text)

    def render(self, envelope: Envelope) -> str:
        """See `Filling`."""
        return _joined(self._field, self._parts, envelope, self._encoded)

    def _encoded(self, value: Any) -> str:
        text = _as_text(value)
        if text in {"", ".", ".."}:  # which would name another place than the one meant
            raise PermanentError(ErrorClass.SCHEMA, f"the message holds nothing that {self._field} can take")
        return quote(text, safe="", errors="replace")


def dumps(value: Any) -> bytes:
    """JSON. Raises `PermanentError(schema)` for a value that JSON can't hold."""
    try:
        return orjson.dumps(value)
    except orjson.JSONEncodeError as error:
        raise PermanentError(ErrorClass.SCHEMA, "the message can't be written as JSON") from error


def _compiled(field: str, node: Any) -> Any:
    """The template with each text parsed: a text is a tuple of its parts."""
    match node:
        case str():
            return _parsed(field, node)
        case dict():
            return {name: _compiled(field, inner) for name, inner in node.items()}
        case list() | tuple():
            return [_compiled(field, inner) for inner in node]
        case _:
            return node


def _parsed(field: str, text: str) -> tuple[Part, ...]:
    try:
        return parse(text)
    except ValueError as error:
        raise UsageError(f"{field} {error}") from error


def _find(field: str, placeholder: Placeholder, envelope: Envelope) -> Any:
    value: Any = envelope
    for part in placeholder.path if placeholder.path[0] != "envelope" else placeholder.path[1:]:
        if isinstance(value, Mapping) and part in value:
            value = value[part]
        elif isinstance(value, list) and part.isdecimal() and int(part) < len(value):
            value = value[int(part)]
        elif placeholder.optional:
            return _ABSENT
        else:
            raise PermanentError(
                ErrorClass.SCHEMA, f"the message holds no {placeholder}, which {field} needs"
            )
    return value


def _joined(field: str, parts: tuple[Part, ...], envelope: Envelope, show: Callable[[Any], str]) -> str:
    texts = []
    for part in parts:
        if isinstance(part, str):
            texts.append(part)
        elif (value := _find(field, part, envelope)) is not _ABSENT:
            texts.append(show(value))
    return "".join(texts)


def _as_text(value: Any) -> str:
    return value if isinstance(value, str) else dumps(value).decode()
