"""The pages of docs/ that follow from the code: `make docs` writes them, a test holds them."""

import ast
import re
import sys
from itertools import groupby
from pathlib import Path

from workers.core import metrics

ROOT = Path(__file__).resolve().parents[1]
_PACKAGES = ("schemas", "workers", "dlq_tools", "benchmarks")

_GENERATED = re.compile(r"_pb2(_grpc)?\.py$")

_METRICS = """# Metrics

What every process serves on `/metrics` of its health port. No label holds an id, a text or a user.

| metric | kind | labels | meaning |
| --- | --- | --- | --- |
"""

_MODULES = """# Every module in one line

`make docs` takes these from the modules themselves. How they belong together: [DESIGN.md](DESIGN.md).
"""


def pages() -> dict[Path, str]:
    """Where each page is, and what it says."""
    return {ROOT / "docs/metrics.md": _metrics(), ROOT / "docs/modules.md": _modules()}


def definitions() -> list[metrics.Definition]:
    """All metrics, by name."""
    found = [value for value in vars(metrics).values() if isinstance(value, metrics.Definition)]
    return sorted(found, key=lambda definition: definition.name)


def _metrics() -> str:
    rows = (
        f"| `{each.name}` | {each.kind} | {', '.join(each.labels)} | {each.help} |\n"
        for each in definitions()
    )
    return _METRICS + "".join(rows)


def _modules() -> str:
    files = sorted(
        (
            file
            for package in _PACKAGES
            for file in (ROOT / package).rglob("*.py")
            if not _GENERATED.search(file.name)
        ),
        key=lambda file: (
            file.parent,
            file.name,
        ),  # else a folder between two files would cut their table in two
    )
    said = [(file.parent, file.name, _first_sentence(file)) for file in files]
    sections = []
    for directory, rows in groupby((row for row in said if row[2]), key=lambda row: row[0]):
        table = "".join(f"| `{name}` | {sentence} |\n" for _, name, sentence in rows)
        sections.append(
            f"\n## {directory.relative_to(ROOT)}/\n\n| module | what it holds |\n| --- | --- |\n{table}"
        )
    return _MODULES + "".join(sections)


def _first_sentence(file: Path) -> str:
    paragraph, *_ = (ast.get_docstring(ast.parse(file.read_text())) or "").split("\n\n")
    sentence, *_ = re.split(r"(?<=[.?])\s+(?=[A-Z`])", " ".join(paragraph.split()))
    return sentence.replace("|", "\\|")


if __name__ == "__main__":
    for path, text in pages().items():
        path.write_text(text)
        sys.stdout.write(f"{path.relative_to(ROOT)}\n")
