"""Several processes of one command: started together, started again when they die, stopped together."""

import asyncio
import signal
import sys
from collections.abc import Sequence

import structlog

from workers.core.clock import Clock
from workers.core.exit_codes import ExitCode
from workers.local.children import Watchdog
from workers.local.restart import RestartPolicy, Restarts

log = structlog.get_logger()

PASSED_ON = (signal.SIGHUP, signal.SIGUSR1)
"""Signals that mean something to each process; a child unblocks them once it handles them."""

_HOPELESS = ExitCode.USAGE  # trying again changes nothing


class Processes:
    """Keeps `python -m workers ARGUMENTS` running, once for each list of arguments.

    A child has a group of its own: Ctrl-C at the terminal reaches it once, through us.
    """

    def __init__(self, commands: Sequence[Sequence[str]], watchdog: Watchdog, clock: Clock) -> None:
        self._commands = commands
        self._watchdog = watchdog
        self._clock = clock
        self._running: dict[int, asyncio.subprocess.Process] = {}
        self._stopping = asyncio.Event()

    async def run(self) -> int:
        """Run until `stop` or a hopeless exit code stops them. Returns the first exit code that isn't 0, or 0."""
        codes = await asyncio.gather(*(self._keep(number) for number in range(len(self._commands))))
        return next((code for code in codes if code != ExitCode.DONE), ExitCode.DONE)

    def stop(self, number: int) -> None:
        """Pass a signal on to all of them; none is started again from now on."""
        self._stopping.set()
        self.pass_on(number)

    def pass_on(self, number: int) -> None:
        """Pass a signal on to all of them that are alive."""
        for process in self._running.values():
            if process.returncode is None:
                process.send_signal(number)

    async def _keep(self, number: int) -> int:
        restarts = Restarts(RestartPolicy())
        while True:
            began = self._clock.monotonic()
            code = await self._live(number)
            if self._stopping.is_set():
                return code
            if code == _HOPELESS:
                self.stop(signal.SIGTERM)
                return code
            delay = restarts.died(self._clock.monotonic() - began)
            log.warning("process_died", process=number, exit_code=code, restart_in_s=delay)
            if await self._stopped_within(delay):
                return code

    async def _live(self, number: int) -> int:
        # A child takes over what is blocked: what comes before it can handle it waits, and does not kill it.
        before = signal.pthread_sigmask(signal.SIG_BLOCK, PASSED_ON)
        try:
            process = await asyncio.create_subprocess_exec(
                sys.executable, "-m", "workers", *self._commands[number], process_group=0
            )
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, before)
        self._running[number] = process
        self._watchdog.add(process.pid)
        if self._stopping.is_set():
            process.send_signal(signal.SIGTERM)
        try:
            return await process.wait()
        finally:
            self._watchdog.remove(process.pid)

    async def _stopped_within(self, seconds: float) -> bool:
        try:
            async with asyncio.timeout(seconds):
                await self._stopping.wait()
        except TimeoutError:
            return False
        return True
