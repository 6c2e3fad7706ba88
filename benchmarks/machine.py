"""What a figure was measured on: without it a figure says nothing."""

import os
import platform
import subprocess
from importlib import metadata
from pathlib import Path
from typing import Any

import psutil

from workers.core.clock import SystemClock
from workers.local.kafka_jars import kafka_version, read_pins
from workers.policies import retry

_PACKAGES = (
    "relayfleet",
    "confluent-kafka",
    "faust-streaming",
    "aiokafka",
    "pyreqwest",
    "uvloop",
    "orjson",
    "redis",
    "grpcio",
    "uvicorn",
    "locust",
)


def machine() -> dict[str, Any]:
    """Cores, memory, system, versions, and how busy the machine was with other things just now."""
    return {
        "cores": os.cpu_count(),
        "cpu": _cpu(),
        "memory_gb": round(psutil.virtual_memory().total / 2**30, 1),
        "system": f"{platform.system()} {platform.release()}",
        "python": platform.python_version(),
        "load_before": round(psutil.getloadavg()[0], 2),
        "versions": {**_versions(), "kafka": kafka_version(read_pins())},
        "commit": _commit(),
        "began": SystemClock().wall(),
    }


def shared(machine: dict[str, Any]) -> bool:
    """Whether something else was using the machine: its figures are then too low, and vary more."""
    return float(machine["load_before"]) > 0.25 * int(machine["cores"] or 1)


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
