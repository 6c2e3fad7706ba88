"""Every section one after the other, and the report: `make bench`, `python -m benchmarks`.

The short form takes less than ten minutes; `--full` repeats every figure five times and takes hours, an hour of which
is the soak. `--into docs/performance.md` also writes the tables into that page. A section that fails does not keep
the others from running, and ends the whole with 1.
"""

import argparse
import subprocess
import sys
import time
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

from benchmarks.brokers import broker
from benchmarks.store import new_directory
from workers.core.settings import Settings

_SOAK = {"short": "40", "full": "4500"}  # seconds; the full one is an hour after its warm-up


def sections(kafka: str, *, full: bool) -> dict[str, Sequence[str]]:
    """The commands, by section. Recovery kills its broker, so that it has one of its own."""
    form: tuple[str, ...] = () if full else ("--short",)
    on = (*form, "--kafka", kafka)
    return {
        "run": ("run", *on),
        "scaling": ("part", "scaling", *on),
        "parts": ("part", "parts", *on),
        "gateway": ("part", "gateway", *on),
        "ramp": ("ramp", *on),
        "soak": ("soak", "--seconds", _SOAK["full" if full else "short"], *on),
        "recover": ("recover", *form),
        "peers": ("peers", *on),
    }


def main() -> int:
    """Run them, and draw the report."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__.split("\n")[0])
    parser.add_argument("--kafka", metavar="HOST:PORT", help="default: an embedded broker of its own")
    parser.add_argument("--full", action="store_true", help="five runs of everything, and an hour's soak")
    parser.add_argument("--only", metavar="SECTION", action="append", help="one section, repeatable")
    parser.add_argument("--out", type=Path, help="where results go; default: .relayfleet/bench/<time>")
    parser.add_argument("--into", type=Path, help="also put the tables into this Markdown file")
    given = parser.parse_args()
    out = given.out or new_directory(Settings.read().home)
    failed = []
    with broker(given.kafka) as kafka:
        for name, command in sections(kafka.bootstrap, full=given.full).items():
            if given.only and name not in given.only:
                continue
            if _run(name, (*command, "--out", str(out))):
                failed.append(name)
    into = ("--into", str(given.into)) if given.into else ()
    failed += ["report"] if _run("report", ("report", str(out), *into)) else []
    if failed:
        sys.stdout.write(f"\nfailed: {', '.join(failed)}\n")
    return 1 if failed else 0


def _run(name: str, command: Sequence[str]) -> int:
    sys.stdout.write(f"\n{name}: relayfleet bench {' '.join(command)}\n")
    sys.stdout.flush()
    began = time.monotonic()
    done = subprocess.run([sys.executable, "-m", "workers", "bench", *command], check=False)
    sys.stdout.write(f"{name}: {time.monotonic() - began:.0f} s\n")
    return done.returncode


if __name__ == "__main__":
    with suppress(KeyboardInterrupt):
        sys.exit(main())
    sys.exit(130)
