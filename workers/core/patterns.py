"""Regular expressions that take time in proportion to the text, whatever they and the text are (RE2)."""

from dataclasses import dataclass
from typing import Any

import re2

_OPTIONS = re2.Options()
_OPTIONS.log_errors = False


class PatternError(ValueError):
    """A pattern that can't be compiled, and why."""


@dataclass(frozen=True, slots=True)
class LinearPattern:
    """A compiled pattern. `\\d`, `\\w` and `\\b` know ASCII alone; `(?i)` knows all scripts."""

    pattern: str
    _compiled: Any

    def found_in(self, text: str) -> bool:
        """Whether the pattern is anywhere in the text."""
        # As bytes: for a str the binding would count the characters up to the match, which nobody asked for.
        return self._compiled.search(text.encode("utf-8", "replace")) is not None


def compile_pattern(pattern: str) -> LinearPattern:
    """Compile a pattern in RE2's syntax: no look-around, no back references. Raises `PatternError`."""
    try:
        return LinearPattern(pattern, re2.compile(pattern.encode("utf-8", "replace"), _OPTIONS))
    except re2.error as error:
        reason = error.args[0]
        text = reason.decode("utf-8", "replace") if isinstance(reason, bytes) else str(reason)
        raise PatternError(text) from None
