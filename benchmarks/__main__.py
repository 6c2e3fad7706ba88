"""Every section one after the other, and the report: `make bench`, `python -m benchmarks`.

The short form takes less than ten minutes; `--full` repeats every figure five times and takes hours, an hour of which
is the soak. `--into docs/performance.md` also writes the tables into that page. A section that fails does not keep
the others from running, and ends the whole with 1.
"""

import argparse
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

from benchmarks.brokers import broker
from benchmarks.store import SECTIONS, new_directory
from workers.core.scheduling import take_turns
from workers.core.settings import Settings

_SOAK = {"short": "25", "full": "4500"}  # seconds; the full one is an hour after its warm-up
_LONGEST = 300.0  # seconds of a section's short form; what hangs must not keep the others from running
_ALONE = "recover"  # it kills its broker, so that it has one of its own


def sections(kafka: str, *, full: bool, runs: int | None = None) -> dict[str, Sequence[str]]:
    """The commands, by section; `runs`: how often they repeat what they repeat."""
    form: tuple[str, ...] = () if full else ("--short",)
    on = (*form, "--kafka", kafka)
    again = ("--runs", str(runs)) if runs else ()
    commands = {
        "run": ("run", *on, *again),
        "peers": ("peers", *on, *again),
        "parts": ("part", "parts", *on, *again),
        "gateway": ("part", "gateway", *on, *again),
        "ramp": ("ramp", *on),
        "scaling": ("part", "scaling", *on, *again),
        "soak": ("soak", "--seconds", _SOAK["full" if full else "short"], *on),
        _ALONE: ("recover", *form, *again),
    }
    return {name: commands[name] for name in SECTIONS}


def main() -> int:
    """Run them, and draw the report."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__.split("\n")[0])
    parser.add_argument("--kafka", metavar="HOST:PORT", help="default: an embedded broker of its own")
    parser.add_argument(
        "--full", action="store_true", help="long spans, five runs (of ramp and soak one), an hour's soak"
    )
    parser.add_argument(
        "--only", metavar="SECTION", action="append", choices=SECTIONS, help="one section, repeatable"
    )
    parser.add_argument("--runs", type=int, metavar="N", help="repeat N times; default: 1, with --full 5")
    parser.add_argument("--out", type=Path, help="where results go; default: .relayfleet/bench/<time>")
    parser.add_argument("--into", type=Path, help="also put the tables into this Markdown file")
    given = parser.parse_args()
    take_turns(Settings.read().take_turns)
    out = given.out or new_directory(Settings.read().home)
    began = time.monotonic()
    told = _measure(given, out)
    into = ("--into", str(given.into)) if given.into else ()
    told["report"] = _run("report", ("report", str(out), *into), None)
    _say("\n" + in_words(told, time.monotonic() - began))
    return int(any(ended != 0 for _, ended in told.values()))


def _measure(given: argparse.Namespace, out: Path) -> dict[str, "Told"]:
    """Run what is wanted; on one broker, which is warm, and which ends before the one that is killed starts."""
    limit = None if given.full or given.runs else _LONGEST
    told = {}
    wanted = [name for name in SECTIONS if not given.only or name in given.only]
    together = [name for name in wanted if name != _ALONE]
    if together:
        began = time.monotonic()
        with broker(given.kafka, _say) as kafka:
            told["broker"] = Told(time.monotonic() - began, 0)
            commands = sections(kafka.bootstrap, full=given.full, runs=given.runs)
            for name in together:
                told[name] = _run(name, (*commands[name], "--out", str(out)), limit)
    if _ALONE in wanted:
        command = sections("", full=given.full)[_ALONE]
        told[_ALONE] = _run(_ALONE, (*command, "--out", str(out)), limit)
    return told


class Told(NamedTuple):
    """What came of a section. `ended` is its exit code; None: it was ended because it took too long."""

    seconds: float
    ended: int | None


def _run(name: str, command: Sequence[str], limit: float | None) -> Told:
    _say(f"\n{name}: relayfleet bench {' '.join(command)}")
    began, ended = time.monotonic(), None
    with suppress(subprocess.TimeoutExpired):
        whole = [sys.executable, "-m", "workers", "bench", *command]
        ended = subprocess.run(whole, check=False, timeout=limit).returncode
    return Told(time.monotonic() - began, ended)


def in_words(told: Mapping[str, Told], seconds: float) -> str:
    """How long each section took, and what failed."""
    lines = [f"{name:10} {each.seconds:6.0f} s{_outcome(each.ended)}" for name, each in told.items()]
    return "\n".join([*lines, f"{'together':10} {seconds:6.0f} s"])


def _outcome(ended: int | None) -> str:
    if ended is None:
        return "  took too long and was ended"
    return f"  FAILED with {ended}" if ended else ""


def _say(line: str) -> None:
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


if __name__ == "__main__":
    with suppress(KeyboardInterrupt):
        sys.exit(main())
    sys.exit(130)
