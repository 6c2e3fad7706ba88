"""The parts by themselves: each has a benchmark of its own, run here as a command, its output kept."""

import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import orjson

from benchmarks.brokers import Broker
from benchmarks.store import Results

Say = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class Plan:
    """How much of each."""

    short: bool = False
    runs: int = 5
    seed: int = 1  # of the texts that are classified


def commands(kafka: str, plan: Plan) -> Mapping[str, Sequence[str]]:
    """What is measured, and the command that does it."""
    runs = str(plan.runs)
    messages = "40000" if plan.short else "100000"
    on = ("--kafka", kafka)
    return {
        "router": ("router", "--messages", messages, "--runs", runs, *on),
        "worker": ("worker", "--messages", messages, "--runs", runs, *on),
        "backend": ("backend", "--calls", "10000" if plan.short else "30000", "--runs", runs),
        "kafka_adapter": ("kafka_adapter", kafka, "--count", "50000" if plan.short else "200000"),
        "dead_letters": ("dead_letters", "--letters", "10000" if plan.short else "100000", *on),
        "classification": (
            "classification",
            *("--messages", "10000" if plan.short else "50000", "--runs", "5", "--seed", str(plan.seed)),
        ),
    }


def parts(kafka: Broker, plan: Plan, results: Results, say: Say) -> dict[str, Any]:
    """Run every one; one that fails does not keep the others from running."""
    found: dict[str, Any] = {}
    for name, command in commands(kafka.bootstrap, plan).items():
        line = f"python -m benchmarks.{' '.join(command)}"
        say(line)
        done = subprocess.run(
            [sys.executable, "-m", f"benchmarks.{command[0]}", *command[1:]],
            capture_output=True,
            text=True,
            check=False,
        )
        say(done.stdout.rstrip() or done.stderr.strip()[-500:])
        found[name] = {
            "command": line,
            "exit_code": done.returncode,
            "output": done.stdout,
            **_figures(done.stdout),
        }
        if done.returncode:
            found[name]["why"] = done.stderr.strip()[-2000:]
    results.save("parts", {"plan": asdict(plan)}, found)
    return found


def _figures(output: str) -> dict[str, Any]:
    """The JSON object that some of them print."""
    for line in reversed(output.splitlines()):
        if line.startswith("{"):
            try:
                return {"figures": orjson.loads(line)}
            except orjson.JSONDecodeError:
                continue
    return {}
