"""Answers with values in them: `{name}` and nothing more, so that a template reaches into no object."""

import re
import string
from collections.abc import Mapping
from typing import Any

from schemas.errors import ErrorClass
from workers.core.errors import PermanentError, UsageError

_NAME = re.compile(r"[^\W\d]\w*")


class Template:
    """A text with `{name}` where a value goes; `{{` and `}}` stand for the braces themselves."""

    def __init__(self, field: str, text: str) -> None:
        """`field` is what the topology calls it. Raises `UsageError` for anything but plain names in braces."""
        self._field = field
        try:
            parts = list(string.Formatter().parse(text))
        except ValueError as error:
            raise UsageError(f"{field} is not a template: {error}; write {{{{ for a brace") from error
        for _, name, spec, conversion in parts:
            if name is not None and (spec or conversion or not _NAME.fullmatch(name)):
                raise UsageError(f"{field} holds {{{name}}}; only plain names go between braces")
        self._parts = [(literal, name) for literal, name, _, _ in parts]

    def render(self, values: Mapping[str, Any]) -> str:
        """The text with its values; an empty one (null) shows as `-`."""
        return "".join(literal + (self._show(name, values) if name else "") for literal, name in self._parts)

    def _show(self, name: str, values: Mapping[str, Any]) -> str:
        if name not in values:
            raise PermanentError(
                ErrorClass.INTERNAL, f"{self._field} names {{{name}}}, which the query does not return"
            )
        value = values[name]
        return "-" if value is None else str(value)
