"""One child process: started in a session of its own, its output in a file, stopped within a deadline."""

import asyncio
import os
import signal
import subprocess
import sys
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import IO

from workers.core.deadlines import Deadline
from workers.core.exit_codes import ExitCode
from workers.core.redact import redact

_WATCHDOG_GRACE = 10.0  # seconds
_TAIL_BYTES = 16_384


class Watchdog:
    """The guard that ends our children should we be killed; see `workers.local.watchdog`."""

    def __init__(self) -> None:
        self._pids: dict[int, None] = {}
        self._process = self._start()

    def add(self, pid: int) -> None:
        """Guard this process (and its group)."""
        self._pids[pid] = None
        self._tell(f"+{pid}\n")

    def remove(self, pid: int) -> None:
        """It has ended."""
        self._pids.pop(pid, None)
        self._tell(f"-{pid}\n")

    def close(self) -> None:
        """End the guard; what is still guarded is ended with it."""
        with suppress(BrokenPipeError):
            self._pipe.close()
        self._process.wait()

    @property
    def _pipe(self) -> IO[bytes]:
        assert self._process.stdin is not None  # noqa: S101 - opened with PIPE
        return self._process.stdin

    def _tell(self, line: str) -> None:
        try:
            self._pipe.write(line.encode())
        except BrokenPipeError:  # somebody killed the guard: a new one learns the whole list
            self._process.wait()
            self._process = self._start()
            self._pipe.write("".join(f"+{pid}\n" for pid in self._pids).encode())

    @staticmethod
    def _start() -> "subprocess.Popen[bytes]":
        script = Path(__file__).with_name("watchdog.py")
        command = [sys.executable, "-I", "-S", str(script), str(_WATCHDOG_GRACE)]
        return subprocess.Popen(command, stdin=subprocess.PIPE, bufsize=0, start_new_session=True)  # noqa: S603 - our own script


class Child:
    """A running child process. `log` gets everything it writes."""

    def __init__(self, process: asyncio.subprocess.Process, log: Path, log_start: int) -> None:
        self._process = process
        self._log = log
        self._log_start = log_start

    @classmethod
    async def spawn(
        cls, command: tuple[str, ...], *, log: Path, environment: Mapping[str, str], directory: Path
    ) -> "Child":
        """Start it. Raises `OSError` when it can't be.

        Its own session: a terminal's Ctrl-C reaches the supervisor alone, and the whole group can be killed.
        """
        with log.open("ab") as output:
            start = output.tell()
            process = await asyncio.create_subprocess_exec(
                *command,
                stdin=asyncio.subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                env=dict(environment),
                cwd=directory,
                start_new_session=True,
            )
        return cls(process, log, start)

    @property
    def pid(self) -> int:
        """Also the number of its process group."""
        return self._process.pid

    @property
    def running(self) -> bool:
        """Whether it has not ended yet."""
        return self._process.returncode is None

    async def wait(self) -> str:
        """Wait for its end; returns how it ended, in words."""
        return describe_exit(await self._process.wait())

    @property
    def exit_code(self) -> int | None:
        """Its exit code, negative for a signal, None while it runs."""
        return self._process.returncode

    async def stop(self, deadline: Deadline) -> bool:
        """SIGTERM, and SIGKILL to its group at the deadline. Returns whether it went by itself."""
        if self.running:
            with suppress(ProcessLookupError):
                # Not to the group: a child with processes of its own stops those itself, and a second signal aborts.
                self._process.terminate()
            with suppress(TimeoutError):
                await asyncio.wait_for(self._process.wait(), deadline.remaining())
        gone = not self.running
        self.kill()
        await self._process.wait()
        return gone

    def kill(self) -> None:
        """SIGKILL to the whole group, at once; also ends what a dead child left behind."""
        with suppress(ProcessLookupError, PermissionError):
            os.killpg(self.pid, signal.SIGKILL)

    def last_lines(self, count: int) -> list[str]:
        """The last lines this child wrote, secrets masked."""
        with self._log.open("rb") as log:
            size = log.seek(0, os.SEEK_END)
            log.seek(max(self._log_start, size - _TAIL_BYTES))
            text = log.read().decode(errors="replace")
        return [redact(line) for line in text.splitlines() if line.strip()][-count:]


def describe_exit(code: int) -> str:
    """`killed by SIGKILL`, `exit code 71 (stuck)`."""
    if code < 0:
        try:
            return f"killed by {signal.Signals(-code).name}"
        except ValueError:
            return f"killed by signal {-code}"
    try:
        return f"exit code {code} ({ExitCode(code).name.lower()})"
    except ValueError:
        return f"exit code {code}"
