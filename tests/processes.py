"""One process of a fleet under test: started, signalled, asked whether it is ready."""

import http.client
import os
import signal
import subprocess
import urllib.request
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from random import SystemRandom

from tests.support import eventually
from workers.local.free_ports import Ports

ROOT = Path(__file__).resolve().parents[1]
_PORTS = Ports()
_FIRST, _LAST = 30_000, 32_500  # above those of the brokers


@dataclass
class Process:
    """One process of the fleet; `log` holds what it wrote."""

    name: str
    command: tuple[str, ...]
    log: Path
    environment: Mapping[str, str]
    health_port: int | None = None
    popen: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Start it (again)."""
        with self.log.open("ab") as output:
            self.popen = subprocess.Popen(
                self.command,
                cwd=ROOT,
                stdout=output,
                stderr=output,
                env=dict(self.environment),
                start_new_session=True,
            )

    def signal(self, number: int) -> None:
        """Send a signal, if it still runs."""
        if self.popen is not None and self.popen.poll() is None:
            os.killpg(self.popen.pid, number)

    async def ended(self, patience: float = 30.0) -> int:
        """Wait for its end and return the exit code."""
        popen = self.popen
        assert popen is not None
        await eventually(lambda: popen.poll() is not None, patience)
        return popen.returncode

    async def kill(self) -> None:
        """SIGKILL, and wait until it is gone."""
        self.signal(signal.SIGKILL)
        await self.ended()

    def is_ready(self) -> bool:
        """Whether `/readyz` says so."""
        return get(f"http://127.0.0.1:{self.health_port}/readyz") is not None

    def is_alive_and_ready(self) -> bool:
        """The same; raises `RuntimeError` when it has ended."""
        if self.popen is not None and self.popen.poll() is not None:
            raise RuntimeError(f"{self.name} ended with {self.popen.returncode}")
        return self.is_ready()

    def last_lines(self) -> str:
        """What it wrote last, for failures."""
        return self.log.read_text(errors="replace")[-3000:]


def get(url: str, patience: float = 2.0) -> bytes | None:
    """What a server answers; None where it refuses, nobody listens, or `patience` seconds were not enough."""
    try:
        with urllib.request.urlopen(url, timeout=patience) as answer:
            body: bytes = answer.read()
            return body
    except (OSError, http.client.HTTPException):
        return None


def free_port() -> int:
    """A port that nobody listens on now, that no outgoing connection takes meanwhile, and that is given once only."""
    return _PORTS.take(SystemRandom().randrange(_FIRST, _LAST))
