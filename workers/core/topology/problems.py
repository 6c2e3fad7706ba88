"""What is wrong with a topology file: every problem with its place, all of them in one error."""

import difflib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from workers.core.errors import UsageError

Path = tuple[str | int, ...]
"""Where a value is: keys and list indices from the top of the file."""


class Place(NamedTuple):
    """Line and column, both from 1."""

    line: int
    column: int


@dataclass(frozen=True, slots=True)
class Problem:
    """One thing to correct. `line` and `column` start at 1; `field` is empty where the whole file is meant.

    Neither text holds a value that came from the environment or from a referenced file.
    """

    file: str
    line: int
    column: int
    field: str
    message: str
    suggestion: str | None = None

    def __str__(self) -> str:
        field = f" {self.field}:" if self.field else ""
        advice = f"; {self.suggestion}" if self.suggestion else ""
        return f"{self.file}:{self.line}:{self.column}:{field} {self.message}{advice}"


class TopologyError(UsageError):
    """The topology file is refused; `problems` has every reason, in the order of the file."""

    def __init__(self, problems: Sequence[Problem]) -> None:
        self.problems = tuple(sorted(problems, key=lambda problem: (problem.line, problem.column)))
        super().__init__("\n".join(str(problem) for problem in self.problems))


@dataclass(frozen=True, slots=True)
class Fault:
    """A problem with the value at `path`, or with its key. `place` is given where the path alone does not tell it."""

    path: Path
    message: str
    suggestion: str | None = None
    at_key: bool = False
    place: Place | None = None


def did_you_mean(word: str, known: Iterable[str]) -> str | None:
    """Advice that names the known word nearest to `word`, or all of them where they are few."""
    candidates = sorted(known)
    lowered = {candidate.lower(): candidate for candidate in candidates}
    near = difflib.get_close_matches(word.lower(), lowered, n=1, cutoff=0.6)
    if near:
        return f"did you mean {lowered[near[0]]!r}?"
    if 0 < len(candidates) <= 12:
        return f"known: {', '.join(candidates)}"
    return None


def field_name(path: Path) -> str:
    """A path as people write it: `targets.llm.instances[0].url`."""
    text = ""
    for part in path:
        text += f"[{part}]" if isinstance(part, int) else f".{part}" if text else part
    return text
