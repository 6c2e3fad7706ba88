"""The broker as a process of the operating system: started detached, recognised again, stopped."""

import os
import socket
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path

import psutil
import structlog

from workers.core.deadlines import Deadline
from workers.local.broker_config import HOST

MAIN = "kafka.Kafka"
_CONNECT_WITHIN = 1.0  # seconds
_KILLED_WITHIN = 10.0
_LOOK_EVERY = 0.02
_log = structlog.get_logger()


def launch(command: Sequence[str], console: Path, environment: Mapping[str, str]) -> int:
    """Start a process that outlives this one, its output in `console` from the beginning; returns its pid."""
    writing = os.O_WRONLY | os.O_CREAT | os.O_TRUNC
    return os.posix_spawn(
        command[0],
        list(command),
        dict(environment),
        file_actions=[
            (os.POSIX_SPAWN_OPEN, 0, os.devnull, os.O_RDONLY, 0),
            (os.POSIX_SPAWN_OPEN, 1, str(console), writing, 0o644),
            (os.POSIX_SPAWN_DUP2, 1, 2),
        ],
        setsid=True,
    )


def find(pid: int | None, properties: Path) -> psutil.Process | None:
    """The process `pid` if it lives and is the broker of this properties file, never a stranger with that pid."""
    if pid is None or ended(pid):
        return None
    try:
        process = psutil.Process(pid)
        command = process.cmdline()
    except (psutil.NoSuchProcess, psutil.AccessDenied):
        return None
    return process if command[-2:] == [MAIN, str(properties)] else None


def ended(pid: int) -> bool:
    """Whether no process with this pid runs; a child of ours that has ended is reaped."""
    # For a child of ours the kernel's word alone counts: while its threads end it already looks like a zombie.
    with suppress(ChildProcessError):
        return os.waitpid(pid, os.WNOHANG)[0] == pid
    try:
        return psutil.Process(pid).status() == psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return True


def terminate(process: psutil.Process, deadline: Deadline) -> bool:
    """SIGTERM, and SIGKILL at the deadline. Returns whether it went by itself."""
    with suppress(psutil.NoSuchProcess):
        process.terminate()
    if _await_end(process.pid, deadline):
        return True
    _log.warning("broker_killed", pid=process.pid, reason="it did not stop within the deadline")
    kill(process)
    return False


def kill(process: psutil.Process) -> None:
    """SIGKILL, and wait until it is gone."""
    with suppress(psutil.NoSuchProcess):
        process.kill()
    _await_end(process.pid, Deadline.after(_KILLED_WITHIN))


def _await_end(pid: int, deadline: Deadline) -> bool:
    # Not psutil's `wait`: that never returns for the zombie of a parent that does not reap.
    while not ended(pid):
        if deadline.expired:
            return False
        time.sleep(_LOOK_EVERY)
    return True


def accepts(port: int) -> bool:
    """Whether something accepts connections at this port of this machine."""
    try:
        with socket.create_connection((HOST, port), timeout=_CONNECT_WITHIN):
            return True
    except OSError:
        return False
