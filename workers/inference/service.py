"""All targets of one worker process: started together, drained within one deadline, ended by the first that fails."""

import asyncio
import contextlib
from collections.abc import Awaitable, Callable, Coroutine, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

import structlog

from schemas.fleet_state import InstanceState
from workers.core.clock import Clock
from workers.core.deadlines import Deadline
from workers.core.exit_codes import ExitCode
from workers.core.health import Fact
from workers.inference.worker import Progress, TargetWorker

log = structlog.get_logger()

T = TypeVar("T")

_GRACE = 1.0  # seconds that a drain may take beyond its deadline


@dataclass(frozen=True, slots=True)
class ServiceLimits:
    """Seconds."""

    drain: float = 25.0
    silent: float = 10.0  # without a turn of a target's clockwork the event loop counts as dead
    stuck_after: float = (
        60.0  # at least: without progress though messages wait; longer where calls may take longer
    )
    look_every: float = 5.0


class WorkerService:
    """Works until it is told to stop, or until one of its workers can't keep its promises."""

    def __init__(
        self, workers: Sequence[TargetWorker], clock: Clock, limits: ServiceLimits | None = None
    ) -> None:
        self._workers = tuple(workers)
        self._ending: dict[TargetWorker, asyncio.Task[None]] = {}
        self._clock = clock
        self._limits = limits or ServiceLimits()
        self._broken: asyncio.Future[None] | None = None
        self._stopping = False

    async def run(self, stop: asyncio.Event) -> ExitCode:
        """Work until `stop` is set, then drain within one deadline.

        Ends with `STUCK` where nothing moves though messages wait. Raises what made a worker fail (`FatalError` where a
        delivery failed for good, `UnreachableError` where the group can't be joined); nothing is committed after that.
        """
        self._broken = asyncio.get_running_loop().create_future()
        try:
            for worker in self._workers:
                await worker.start(self._fail)
            if await self._unless_broken(self._until(stop)):
                await self._each(TargetWorker.abort)
                return ExitCode.STUCK
            self._stopping = True
            deadline = Deadline.after(self._limits.drain, self._clock)
            await self._unless_broken(self._each(lambda worker: self._end(worker, deadline)))
        except BaseException:
            await self._each(TargetWorker.abort)
            raise
        return ExitCode.DONE

    async def begin(self, worker: TargetWorker) -> None:
        """Work for another target as well. Does nothing in a service that is stopping."""
        if not self._stopping:
            self._workers = (*self._workers, worker)
            await worker.start(self._fail)

    async def end(self, target: str, seconds: float) -> None:
        """Drain one target within so many seconds, and leave its group; the others work on."""
        deadline = Deadline.after(seconds, self._clock)
        for worker in [worker for worker in self._workers if worker.target == target]:
            await self._end(worker, deadline)
            self._workers = tuple(each for each in self._workers if each is not worker)

    def states(self) -> dict[str, tuple[bool, list[InstanceState]]]:
        """Of each target: whether it has joined its group, and its instances."""
        return {worker.target: (worker.progress().joined, worker.instances()) for worker in self._workers}

    def progress(self) -> dict[str, Progress]:
        """Where each target stands. Callable from any thread."""
        return {worker.target: worker.progress() for worker in self._workers}

    def resume(self) -> None:
        """Take messages again where a safety valve has stopped that."""
        for worker in self._workers:
            worker.resume()

    def alive(self) -> Fact:
        """Whether the event loop turns and messages move."""
        if stuck := self._stuck():
            return Fact("progress", ok=False, why=f"nothing moves: {', '.join(stuck)}")
        now = self._clock.monotonic()
        silent = [
            name for name, progress in self.progress().items() if now - progress.seen_at > self._limits.silent
        ]
        return Fact("loop", not silent, f"nothing heard of {', '.join(silent)}" if silent else "turning")

    def ready(self) -> Fact:
        """Whether every target has its place in its group. A place without partitions is one too: others have them."""
        if self._stopping:
            return Fact("group", ok=False, why="draining")
        outside = [name for name, progress in self.progress().items() if not progress.joined]
        return Fact("group", not outside, f"not joined: {', '.join(outside)}" if outside else "joined")

    async def _until(self, stop: asyncio.Event) -> bool:
        """Wait for `stop`. True: nothing moves any more, and waiting on is pointless."""
        while not stop.is_set():
            if stuck := self._stuck():
                log.critical(
                    "stuck", targets=stuck, so="restart: what is in flight comes again, nothing is lost"
                )
                return True
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(stop.wait(), self._limits.look_every)
        return False

    def _stuck(self) -> list[str]:
        now = self._clock.monotonic()
        return [
            worker.target
            for worker in self._workers
            if now - worker.progress().moved_at > max(self._limits.stuck_after, worker.patience)
        ]

    async def _unless_broken(self, work: Coroutine[Any, Any, T]) -> T:
        """Await this, but raise what makes a worker fail as soon as one does."""
        assert self._broken is not None  # noqa: S101 - set before any work
        task = asyncio.create_task(work)
        waiting: set[asyncio.Future[Any]] = {task, self._broken}
        try:
            await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
            if self._broken.done():
                self._broken.result()
            return task.result()
        finally:
            task.cancel()

    async def _end(self, worker: TargetWorker, deadline: Deadline) -> None:
        """Drain a worker, once: who comes later waits for the same, and gives it up at the deadline of its own."""
        draining = self._ending.get(worker)
        if draining is None:
            draining = self._ending[worker] = asyncio.create_task(worker.drain(deadline))
        await asyncio.wait({draining}, timeout=deadline.remaining() + _GRACE)
        if not draining.done():
            draining.cancel()
            await worker.abort()
            return
        self._ending.pop(worker, None)
        draining.result()

    async def _each(self, work: Callable[[TargetWorker], Awaitable[None]]) -> None:
        await asyncio.gather(*(work(worker) for worker in self._workers))

    def _fail(self, error: BaseException) -> None:
        if self._broken is not None and not self._broken.done():
            log.error("worker_failed", kind=type(error).__name__, error=str(error))
            self._broken.set_exception(error)
