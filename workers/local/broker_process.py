"""The broker as a process of the operating system: started detached, recognised again, stopped."""

import os
import signal
import socket
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path

import psutil
import structlog

from workers.core.deadlines import Deadline
from workers.local.broker_config import HOST

MAIN = "kafka.Kafka"
_CONNECT_WITHIN = 1.0  # seconds
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
    if pid is None:
        return None
    try:
        process = psutil.Process(pid)
        if process.status() == psutil.STATUS_ZOMBIE:
            process.wait(timeout=0)
            return None
        command = process.cmdline()
    except (psutil.NoSuchProcess, psutil.AccessDenied, psutil.TimeoutExpired):
        return None
    return process if command[-2:] == [MAIN, str(properties)] else None


def terminate(process: psutil.Process, deadline: Deadline) -> bool:
    """SIGTERM, and SIGKILL at the deadline. Returns whether it went by itself."""
    with suppress(psutil.NoSuchProcess):
        process.terminate()
    try:
        process.wait(timeout=deadline.remaining())
    except psutil.TimeoutExpired:
        _log.warning("broker_killed", pid=process.pid, reason="it did not stop within the deadline")
        kill(process)
        return False
    return True


def kill(process: psutil.Process) -> None:
    """SIGKILL, and wait until it is gone."""
    with suppress(psutil.NoSuchProcess):
        process.send_signal(signal.SIGKILL)
    process.wait()


def accepts(port: int) -> bool:
    """Whether something accepts connections at this port of this machine."""
    try:
        with socket.create_connection((HOST, port), timeout=_CONNECT_WITHIN):
            return True
    except OSError:
        return False
