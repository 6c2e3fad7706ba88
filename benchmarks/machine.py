"""What a figure was measured on: without it a figure says nothing."""

import os
import platform
import subprocess
import time
from collections.abc import Callable, Mapping
from importlib import metadata
from pathlib import Path
from typing import Any

import psutil

from benchmarks.watch import MACHINE, Sample, look, used
from workers.core.clock import SystemClock
from workers.local.kafka_jars import kafka_version, read_pins
from workers.policies import retry

_PACKAGES = (
    "relayfleet",
    "confluent-kafka",
    "faust-streaming",
    "pyreqwest",
    "uvloop",
    "orjson",
    "redis",
    "grpcio",
    "uvicorn",
    "locust",
)
_NOTABLE = 0.1  # of the machine; an idle broker takes less


def machine(others: float | None = None) -> dict[str, Any]:
    """Cores, memory, system, versions. `others`: the cores that other processes used; None where nobody looked."""
    return {
        "cores": os.cpu_count(),
        "cpu": _cpu(),
        "memory_gb": round(psutil.virtual_memory().total / 2**30, 1),
        "system": f"{platform.system()} {platform.release()}",
        "python": platform.python_version(),
        "others_before": others,
        "versions": {**_versions(), "kafka": kafka_version(read_pins())},
        "commit": _commit(),
        "began": SystemClock().wall(),
    }


def used_by_others(
    seconds: float = 1.0,
    watch: Callable[[], list[Sample]] = lambda: look({}),
    sleep: Callable[[float], None] = time.sleep,
) -> float:
    """The cores that processes used meanwhile: others', while nothing of ours runs but a broker without work.

    Not the load average: it would still hold the section before.
    """
    before = watch()
    sleep(seconds)
    return round(used([*before, *watch()])[MACHINE].cpu_share, 2)


def shared(machine: Mapping[str, Any]) -> bool | None:
    """Whether something else was using the machine: its figures are then too low, and vary more. None: unknown."""
    others = machine.get("others_before")
    return None if others is None else others > _NOTABLE * (machine["cores"] or 1)


def _cpu() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor()
    return next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), "")


def _versions() -> dict[str, str]:
    found = {}
    for name in _PACKAGES:
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    if not str(retry.__file__).endswith(".py") and "relayfleet" in found:
        found["relayfleet"] += ", compiled"
    return found


def _commit() -> str | None:
    """The commit, with `+` where files differ from it; None outside a repository."""
    where = Path(__file__).parent
    try:
        head = subprocess.run(
            ["git", "rev-parse", "--short", "HEAD"], cwd=where, capture_output=True, text=True, check=True
        )
        changed = subprocess.run(
            ["git", "diff", "--quiet", "HEAD"], cwd=where, capture_output=True, check=False
        )
    except (OSError, subprocess.CalledProcessError):
        return None
    return head.stdout.strip() + ("+" if changed.returncode else "")
