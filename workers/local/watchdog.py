"""Stops the supervisor's children when the supervisor itself is gone, even by SIGKILL.

A small process of its own, started as a plain script so that it imports the standard library alone. It reads
`+PID` and `-PID` lines from the supervisor's pipe. The kernel closes that pipe however the supervisor ends; what is
still on the list then is asked to stop (SIGTERM to the process, as the supervisor would) and after the grace period
its whole process group is killed. The other way, PR_SET_PDEATHSIG, exists on Linux alone, reaches no grandchildren
and can't ask before it kills.
"""

import os
import select
import signal
import sys
from collections.abc import Callable, Iterable

_LOOK_EVERY = 0.05  # seconds


def watch(lines: Iterable[str]) -> list[int]:
    """Follow the list until the pipe ends; returns who is still on it, the youngest first."""
    alive: dict[int, None] = {}
    for line in lines:
        sign, pid = line[:1], line[1:].strip()
        if sign == "+":
            alive[int(pid)] = None
        elif sign == "-":
            alive.pop(int(pid), None)
    return list(reversed(alive))


def end(pids: list[int], grace: float) -> None:
    """Ask the processes to stop, wait up to `grace` seconds for all of them together, kill the groups."""
    for pid in pids:
        _signal(os.kill, pid, signal.SIGTERM)
    for _ in range(round(grace / _LOOK_EVERY)):
        if not any(_signal(os.killpg, pid, 0) for pid in pids):
            return
        select.select([], [], [], _LOOK_EVERY)
    for pid in pids:
        _signal(os.killpg, pid, signal.SIGKILL)


def _signal(send: Callable[[int, int], None], pid: int, number: int) -> bool:
    try:
        send(pid, number)
    except (ProcessLookupError, PermissionError):
        return False
    return True


if __name__ == "__main__":
    end(watch(sys.stdin), grace=float(sys.argv[1]))
