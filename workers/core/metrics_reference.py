"""Writes the page of all metrics: `python -m workers.core.metrics_reference > docs/metrics.md`."""

import sys

from workers.core import metrics

_HEAD = """# Metrics

What every process serves on `/metrics` of its health port. No label holds an id, a text or a user.

| metric | kind | labels | meaning |
| --- | --- | --- | --- |
"""


def definitions() -> list[metrics.Definition]:
    """All that are defined, by name."""
    found = [value for value in vars(metrics).values() if isinstance(value, metrics.Definition)]
    return sorted(found, key=lambda definition: definition.name)


def reference() -> str:
    """The page."""
    rows = (
        f"| `{each.name}` | {each.kind} | {', '.join(each.labels)} | {each.help} |\n"
        for each in definitions()
    )
    return _HEAD + "".join(rows)


if __name__ == "__main__":
    sys.stdout.write(reference())
