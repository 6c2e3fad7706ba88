"""The figures of every chaos test, as one table at the end; `--chaos-long` runs the whole matrix."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest

Row = dict[str, object]
_ROWS = pytest.StashKey[list[Row]]()
_COLUMNS = (
    "fault",
    "sent",
    "outcomes",
    "lost",
    "duplicates",
    "paid_twice",
    "failed",
    "dead_letters",
    "recovery_s",
)


@pytest.fixture
def report(request: pytest.FixtureRequest) -> Callable[[Row], None]:
    """Takes the figures of one test."""
    return request.config.stash.setdefault(_ROWS, []).append


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    """Print the table, and write it where `--chaos-report` says."""
    rows: list[Row] = config.stash.get(_ROWS, [])
    if not rows:
        return
    widths = [max(len(name), *(len(str(row.get(name, ""))) for row in rows)) for name in _COLUMNS]
    terminalreporter.section("chaos")
    titles: Row = dict(zip(_COLUMNS, _COLUMNS, strict=True))
    for row in [titles, *rows]:
        cells = (str(row.get(name, "")) for name in _COLUMNS)
        terminalreporter.write_line(
            "  ".join(cell.ljust(width) for cell, width in zip(cells, widths, strict=True))
        )
    target = config.getoption("--chaos-report")
    if target:
        Path(target).write_text(json.dumps(rows, indent=1) + "\n")
