"""What one message costs the gateway, the worker and the router themselves: no sockets, no broker, no threads.

    python -m benchmarks.hot_paths [--messages 10000] [--profile gateway|worker|route|classify]

Microseconds of CPU, the best and the middle of five runs, and function calls and instructions of the interpreter a
message. Those two are the same on every machine and in every run, so a test holds them
(`tests/unit/test_hot_paths.py`): what grows is seen there before any clock shows it.
"""

import argparse
import asyncio
import cProfile
import logging
import pstats
import sys
from collections.abc import Callable, Coroutine, Mapping
from functools import cache
from types import FrameType
from typing import Any

import structlog
import uvloop

from benchmarks.hot_gateway import ask
from benchmarks.hot_router import classify, plan
from benchmarks.hot_worker import work

Run = Callable[[int], float]
COUNTED = ("/workers/", "/schemas/", "/uvicorn/", "/starlette/")


def _on_a_loop(work: Callable[[int], Coroutine[Any, Any, float]]) -> Run:
    def run(messages: int) -> float:
        # Not asyncio.run: the loop that processes run on.
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            return runner.run(work(messages))

    return run


PATHS: Mapping[str, tuple[str, Run]] = {
    "gateway": ("a question over HTTP and its answer", _on_a_loop(ask)),
    "worker": ("a message through a worker", _on_a_loop(work)),
    "route": ("a decision of the router, one route", plan),
    "classify": ("a decision, 1,000 keywords and 8 intents", classify),
}


def calls(run: Run, few: int = 1000, many: int = 3000) -> float:
    """Calls of the fleet's own functions, and of its HTTP server's, a message; what start and end take is not counted."""
    return _a_message(_calls, run, few, many)


def instructions(run: Run, few: int = 500, many: int = 1500) -> float:
    """Instructions of the interpreter a message in the same functions, which sees what grows without calling anything."""
    return _a_message(_instructions, run, few, many)


def _a_message(count: Callable[[Run, int], int], run: Run, few: int, many: int) -> float:
    run(few)  # what is made once and kept
    return (count(run, many) - count(run, few)) / (many - few)


@cache
def _counts(file: str) -> bool:
    return any(each in file for each in COUNTED)


def _calls(run: Run, messages: int) -> int:
    profile = cProfile.Profile()
    profile.runcall(run, messages)
    stats = pstats.Stats(profile).stats  # type: ignore[attr-defined]  # no stub names it
    return sum(entry[1] for (file, _, _), entry in stats.items() if _counts(file))


def _instructions(run: Run, messages: int) -> int:
    done = 0

    def step(_frame: FrameType, event: str, _argument: object) -> Any:
        nonlocal done
        done += event == "opcode"
        return step

    def enter(frame: FrameType, _event: str, _argument: object) -> Any:
        if not _counts(frame.f_code.co_filename):
            return None
        frame.f_trace_opcodes, frame.f_trace_lines = True, False
        return step

    before = sys.gettrace()
    sys.settrace(enter)
    try:
        run(messages)
    finally:
        sys.settrace(before)
    return done


def main() -> None:
    """Print what a message costs."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.hot_paths", description=__doc__.split("\n")[0]
    )
    parser.add_argument("--messages", type=int, default=10_000)
    parser.add_argument("--profile", choices=PATHS)
    given = parser.parse_args()
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.ERROR))
    if given.profile:
        profile = cProfile.Profile()
        profile.runcall(PATHS[given.profile][1], given.messages)
        pstats.Stats(profile, stream=sys.stdout).sort_stats("tottime").print_stats(50)
        return
    sys.stdout.write(f"{'':42} {'CPU us at best':>14} {'median':>7} {'calls':>6} {'instructions':>13}\n")
    for says, run in PATHS.values():
        spent = sorted(run(given.messages) / given.messages * 1e6 for _ in range(5))
        counts = f"{calls(run):6.0f} {instructions(run):13.0f}"
        sys.stdout.write(f"{says:42} {spent[0]:14.1f} {spent[2]:7.1f} {counts}\n")


if __name__ == "__main__":
    main()
