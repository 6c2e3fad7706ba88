"""What the benchmarks start for themselves: a broker and a stub model."""

import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import psutil

from benchmarks import brokers
from workers.local.free_ports import Ports


@contextmanager
def broker(given: str | None = None) -> Iterator[str]:
    """The address of a broker: one that runs already, or one tuned for measuring, with data that nobody keeps."""
    with brokers.broker(given, lambda line: sys.stderr.write(f"{line}\n")) as started:
        yield started.bootstrap


@contextmanager
def stub_model() -> Iterator[str]:
    """The stub without delay, in a process of its own; yields its address."""
    port = Ports().take(28_091)
    command = [sys.executable, "-m", "workers.local.stub_model", "--port", str(port)]
    running = subprocess.Popen(command, stdout=subprocess.DEVNULL)
    try:
        _until_listening(port)
        yield f"http://127.0.0.1:{port}"
    finally:
        running.terminate()
        running.wait(10)


def _until_listening(port: int) -> None:
    until = time.monotonic() + 20
    while True:
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                return
        if time.monotonic() > until:
            raise SystemExit("the stub model does not start")
        time.sleep(0.05)


@contextmanager
def measured(command: Sequence[str], log: Path) -> Iterator[psutil.Process]:
    """A Python process under measurement; what it wrote is shown where it ends badly."""
    with log.open("wb") as output:
        running = subprocess.Popen([sys.executable, *command], stdout=output, stderr=output)
        try:
            yield psutil.Process(running.pid)
        finally:
            running.terminate()
            if running.wait(30) not in {0, -15}:
                sys.stderr.write(log.read_text())
