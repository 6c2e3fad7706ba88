"""Regular expressions that can be used."""

import re
import warnings
from collections.abc import Iterator

from workers.core.topology.problems import Fault, Path

MAX_PATTERN = 1000
"""Characters."""


def check_pattern(path: Path, pattern: str) -> Iterator[Fault]:
    """Why a regular expression can't be used."""
    if len(pattern) > MAX_PATTERN:
        yield Fault(path, f"has {len(pattern):,} characters, {MAX_PATTERN:,} are the most", "split the rule")
        return
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            re.compile(pattern)
    except re.error as error:
        where = f"at character {error.pos + 1}" if error.pos is not None else ""
        yield Fault(path, f"is not a regular expression: {error.msg} {where}".rstrip())
    except Warning as warning:
        yield Fault(
            path, f"is an ambiguous regular expression: {warning}".lower(), "put a backslash before it"
        )
    except (OverflowError, RecursionError):
        yield Fault(path, "is not a regular expression that can be compiled", "make it smaller")
