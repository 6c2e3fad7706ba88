"""The short form of all benchmarks, one after the other on one broker: `make bench`, `python -m benchmarks`.

Each is a command of its own with a longer form: `python -m benchmarks.router --help`.
"""

import argparse
import os
import subprocess
import sys
from contextlib import nullcontext

from benchmarks.parts import broker


def sections(kafka: str) -> dict[str, tuple[str, ...]]:
    """What is measured, and the command that does it."""
    on = ("--kafka", kafka)
    return {
        "router: one process, lossless, beside a bare loop": (
            "router",
            "--messages",
            "100000",
            "--runs",
            "3",
            *on,
        ),
        "worker: one process, every guarantee, beside a bare loop": (
            "worker",
            "--messages",
            "40000",
            "--runs",
            "3",
            *on,
        ),
        "backend: calls of a stub model, beside the bare client": (
            "backend",
            "--calls",
            "20000",
            "--runs",
            "3",
        ),
        "Kafka adapters, beside the bare client": ("kafka_adapter", kafka, "--count", "100000"),
    }


def main() -> int:
    """Run every section; a section that fails does not keep the others from running."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__.split("\n")[0])
    parser.add_argument("--kafka", metavar="HOST:PORT", help="default: an embedded broker of its own")
    given = parser.parse_args()
    failed = 0
    with nullcontext(given.kafka) if given.kafka else broker() as kafka:
        sys.stdout.write(f"{os.cpu_count()} cores, everything on this machine\n")
        for title, command in sections(kafka).items():
            sys.stdout.write(f"\n{title}\n  python -m benchmarks.{' '.join(command)}\n")
            sys.stdout.flush()
            failed += (
                subprocess.run(
                    [sys.executable, "-m", f"benchmarks.{command[0]}", *command[1:]], check=False
                ).returncode
                != 0
            )
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
