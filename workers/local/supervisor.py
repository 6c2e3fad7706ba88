"""Starts the parts of a fleet on one machine, keeps them running, and stops them all.

A part that dies is started again with exponential back-off, and the reason is told. Nothing outlives the supervisor:
it stops the parts in reverse order within one deadline, and should it be killed itself, a guard process does.
"""

import asyncio
import signal
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from enum import Enum
from types import TracebackType
from typing import Protocol

from workers.core.clock import Clock, SystemClock
from workers.core.deadlines import Deadline
from workers.core.errors import RelayError, UnreachableError, UsageError
from workers.core.exit_codes import ExitCode
from workers.local.children import Watchdog
from workers.local.probes import Probe
from workers.local.restart import RestartPolicy, Restarts

_PROBE_EVERY = 0.05  # seconds
_LINES_SHOWN = 5


class Running(Protocol):
    """A part that was launched; `workers.local.children.Child` is one."""

    @property
    def pid(self) -> int:
        """Process and process group to guard."""

    @property
    def exit_code(self) -> int | None:
        """None while it runs or where there is none."""

    async def wait(self) -> str:
        """Wait for its end; returns how it ended, in words."""

    async def stop(self, deadline: Deadline) -> bool:
        """Ask it to stop, force it at the deadline. Returns whether it went by itself."""

    def kill(self) -> None:
        """End it and everything it started, at once."""

    def last_lines(self, count: int) -> list[str]:
        """The last lines of its log."""


class State(Enum):
    """Where a part is."""

    STARTING = "starting"  # launched, its probe does not succeed yet
    READY = "ready"  # its probe succeeded
    WAITING = "waiting"  # it died, and is started again after the back-off
    STOPPING = "stopping"  # asked to stop
    STOPPED = "stopped"  # ended because we wanted it
    FAILED = "failed"  # ended, and will not be started again


@dataclass(frozen=True, slots=True)
class Change:
    """A part changed its state. `seconds`: how long that took; for WAITING, how long until the next start."""

    name: str
    state: State
    seconds: float = 0.0
    why: str = ""


@dataclass(frozen=True, slots=True)
class Part:
    """What to launch and how to know that it is ready. Parts of a higher `stage` are stopped first.

    `ready_within` is in seconds and spans restarts; `restart` None: it is not started again.
    """

    name: str
    launch: Callable[[], Awaitable[Running]]
    probe: Probe
    stage: int = 0
    ready_within: float = 60.0
    restart: RestartPolicy | None = field(default_factory=RestartPolicy)


class PartFailedError(UnreachableError):
    """A part did not become ready, or ended for good."""


class Supervisor:
    """Keeps parts running. `on_change` is told everything, on the event loop."""

    def __init__(
        self,
        on_change: Callable[[Change], None],
        *,
        clock: Clock | None = None,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        self._on_change = on_change
        self._clock = clock or SystemClock()
        self._sleep = sleep
        self._keepers: list[_Keeper] = []
        self._stopping = False

    async def __aenter__(self) -> "Supervisor":
        self._watchdog = Watchdog()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.abort()
        for keeper in self._keepers:
            await keeper.cancel()
        self._watchdog.close()

    async def start(self, part: Part) -> None:
        """Launch a part and wait until it is ready. Raises `PartFailedError` with its last log lines."""
        keeper = _Keeper(part, self._on_change, self._watchdog, self._clock, self._sleep)
        self._keepers.append(keeper)
        await keeper.start()

    async def failure(self) -> PartFailedError:
        """Wait until a part that was ready ends for good, which ends the fleet; returns why."""
        tasks = [asyncio.ensure_future(keeper.failure()) for keeper in self._keepers]
        try:
            done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for task in tasks:
                task.cancel()
        return done.pop().result()

    async def stop(self, deadline: Deadline) -> bool:
        """Stop everything, later stages first. Returns whether every part went by itself."""
        clean = True
        stages = sorted({keeper.part.stage for keeper in self._keepers}, reverse=True)
        for stage in stages:
            # The first stage drains, which takes longest; but the others must get their turn.
            budget = deadline.remaining() * (1 if stage == stages[-1] else 0.6)
            until = Deadline.after(budget, self._clock)
            keepers = [keeper for keeper in self._keepers if keeper.part.stage == stage]
            clean &= all(await asyncio.gather(*(keeper.stop(until) for keeper in keepers)))
        return clean

    def abort(self) -> None:
        """SIGKILL everything, at once."""
        for keeper in self._keepers:
            keeper.kill()


class _Keeper:
    """Keeps one part running."""

    def __init__(
        self,
        part: Part,
        on_change: Callable[[Change], None],
        watchdog: Watchdog,
        clock: Clock,
        sleep: Callable[[float], Awaitable[None]],
    ) -> None:
        self.part = part
        self._on_change = on_change
        self._watchdog = watchdog
        self._clock = clock
        self._sleep = sleep
        self._running: Running | None = None
        self._why = "not launched yet"
        self._ready = asyncio.Event()
        self._task: asyncio.Task[PartFailedError] | None = None

    async def start(self) -> None:
        """Launch, and wait for the first time that it is ready."""
        self._task = asyncio.create_task(self._keep(), name=f"keep {self.part.name}")
        ready = asyncio.create_task(self._ready.wait())
        try:
            await asyncio.wait(
                (ready, self._task), timeout=self.part.ready_within, return_when=asyncio.FIRST_COMPLETED
            )
        finally:
            ready.cancel()
        if self._ready.is_set():
            return
        if self._task.done():
            raise self._task.result()
        lines = self._last_lines()
        raise PartFailedError(
            f"{self.part.name} was not ready within {self.part.ready_within:g} s: {self._why}{lines}"
        )

    async def failure(self) -> PartFailedError:
        """Wait until it ends for good."""
        assert self._task is not None  # noqa: S101 - started
        return await asyncio.shield(self._task)

    async def stop(self, deadline: Deadline) -> bool:
        """No more restarts; stop it."""
        await self.cancel()
        running, self._running = self._running, None
        if running is None:
            return True
        began = self._clock.monotonic()
        self._tell(State.STOPPING)
        clean = await running.stop(deadline)
        self._watchdog.remove(running.pid)
        why = "" if clean else "killed at the deadline"
        self._tell(State.STOPPED, self._clock.monotonic() - began, why)
        return clean

    async def cancel(self) -> None:
        """Look after it no more."""
        if self._task is not None:
            self._task.cancel()
            with suppress(asyncio.CancelledError):
                await self._task

    def kill(self) -> None:
        """End it at once."""
        if self._running is not None:
            self._running.kill()

    async def _keep(self) -> PartFailedError:
        restarts = Restarts(self.part.restart or RestartPolicy())
        while True:
            began = self._clock.monotonic()
            code, why = await self._live()
            if self.part.restart is None or self._hopeless(code):
                self._tell(State.FAILED, why=why)
                return PartFailedError(f"{self.part.name} ended: {why}")
            delay = restarts.died(self._clock.monotonic() - began)
            self._why = why
            self._tell(State.WAITING, delay, why)
            await self._sleep(delay)

    def _hopeless(self, code: int | None) -> bool:
        """Wrong usage before it was ever ready: starting it again changes nothing."""
        return code == ExitCode.USAGE and not self._ready.is_set()

    async def _live(self) -> tuple[int | None, str]:
        """One life: launch, get ready, run, end. Returns exit code and reason."""
        began = self._clock.monotonic()
        self._tell(State.STARTING)
        try:
            running = await self.part.launch()
        except (OSError, RelayError) as error:
            return ExitCode.USAGE if isinstance(error, UsageError) else None, str(error)
        self._running = running
        self._watchdog.add(running.pid)
        probing = asyncio.create_task(self._until_ready(began))
        try:
            why = await running.wait()
        finally:
            probing.cancel()
        running.kill()
        self._watchdog.remove(running.pid)
        killed = running.exit_code == -signal.SIGKILL  # then its last words are about something else
        reason = why if killed else f"{why}{self._last_lines()}"
        self._running = None
        return running.exit_code, reason

    async def _until_ready(self, began: float) -> None:
        while (why := await self.part.probe()) is not None:
            self._why = why
            await asyncio.sleep(_PROBE_EVERY)
        self._tell(State.READY, self._clock.monotonic() - began)
        self._ready.set()

    def _last_lines(self) -> str:
        lines: Sequence[str] = self._running.last_lines(_LINES_SHOWN) if self._running else ()
        return "".join(f"\n  {line}" for line in lines)

    def _tell(self, state: State, seconds: float = 0.0, why: str = "") -> None:
        self._on_change(Change(self.part.name, state, seconds, why))
