"""What a report consists of, whether it becomes HTML or Markdown."""

from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Heading:
    """A section begins."""

    text: str
    level: int = 2


@dataclass(frozen=True, slots=True)
class Text:
    """A paragraph."""

    text: str


@dataclass(frozen=True, slots=True)
class Table:
    """Cells as text; what looks like a number is set to the right."""

    columns: Sequence[str]
    rows: Sequence[Sequence[str]]


@dataclass(frozen=True, slots=True)
class Figure:
    """A drawing as SVG. `name` is its file, `alt` says what is to be seen."""

    name: str
    alt: str
    svg: str


@dataclass(frozen=True, slots=True)
class Code:
    """Text exactly as it was printed."""

    text: str


Block = Heading | Text | Table | Figure | Code


def number(value: float | None, digits: int = 0, unit: str = "") -> str:
    """A number for people; a dash where there is none."""
    if value is None:
        return "–"
    return f"{value:,.{digits}f}{unit}"


def ms(value: float | None) -> str:
    """Milliseconds, with as many digits as mean something."""
    if value is None:
        return "–"
    return f"{value:,.1f}" if value < 100 else f"{value:,.0f}"
