"""A run on disk: one JSON file a section, raw data beside it, so that a report can be written later, and two compared."""

import time
from collections.abc import Iterable, Iterator, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import orjson

from benchmarks.machine import machine
from workers.core.clock import SystemClock
from workers.core.errors import UsageError

SECTIONS = ("run", "peers", "parts", "gateway", "ramp", "scaling", "soak", "recover")
"""In the order in which they are measured and reported: the most important figures first."""
_NUMPY = orjson.OPT_SERIALIZE_NUMPY | orjson.OPT_NON_STR_KEYS


class Results:
    """The directory of one run."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.raw = directory / "raw"
        self._machine: dict[str, Any] | None = None
        self._began = time.monotonic()

    @classmethod
    def create(cls, directory: Path, others: float | None = None) -> "Results":
        """Make it, or go on in it. `others`: see `machine`."""
        made = cls(directory)
        made.raw.mkdir(parents=True, exist_ok=True)
        made._machine = machine(others)
        return made

    @classmethod
    def existing(cls, directory: Path) -> "Results":
        """One that was written earlier. Raises `UsageError` where there is none."""
        found = cls(directory)
        if not found.sections():
            raise UsageError(
                f"no results in {directory}: `relayfleet bench run --out {directory}` writes some"
            )
        return found

    def save(self, section: str, settings: Mapping[str, Any], results: Mapping[str, Any]) -> dict[str, Any]:
        """Write a section with what it was measured on; returns what was written."""
        content = {
            "section": section,
            "seconds": round(time.monotonic() - self._began, 1),
            "machine": self._machine or machine(),
            "settings": settings,
            "results": results,
        }
        (self.directory / f"{section}.json").write_bytes(
            orjson.dumps(content, option=_NUMPY | orjson.OPT_INDENT_2)
        )
        return content

    def sections(self) -> dict[str, dict[str, Any]]:
        """What has been measured, in the order of a report."""
        files = {name: self.directory / f"{name}.json" for name in SECTIONS}
        return {name: orjson.loads(file.read_bytes()) for name, file in files.items() if file.exists()}

    def save_arrays(self, name: str, **arrays: Any) -> None:
        """Raw numbers, compressed, beside the results."""
        np.savez_compressed(self.raw / f"{name}.npz", **arrays)

    def arrays(self, name: str) -> dict[str, Any] | None:
        """What `save_arrays` kept; None where it kept nothing."""
        path = self.raw / f"{name}.npz"
        if not path.exists():
            return None
        with np.load(path, allow_pickle=False) as kept:
            return {key: kept[key] for key in kept.files}


def plain(value: Any) -> Any:
    """The value as JSON has it: no numbers of numpy."""
    return orjson.loads(orjson.dumps(value, option=_NUMPY))


def append_lines(path: Path, rows: Iterable[Mapping[str, Any]]) -> None:
    """Add rows to a file of JSON lines; each call is on disk when it returns."""
    with path.open("ab") as file:
        for row in rows:
            file.write(orjson.dumps(row, option=_NUMPY) + b"\n")
        file.flush()


def read_lines(path: Path) -> Iterator[dict[str, Any]]:
    """The rows of such a file; a last line that was cut off by a kill is left out."""
    if not path.exists():
        return
    for line in path.read_bytes().splitlines():
        try:
            yield orjson.loads(line)
        except orjson.JSONDecodeError:
            return


def new_directory(home: Path) -> Path:
    """Where a run goes that was not told where."""
    now = datetime.fromtimestamp(SystemClock().wall(), UTC)
    return home / "bench" / now.strftime("%Y%m%dT%H%M%SZ")
