"""The embedded broker as a part that the supervisor keeps running."""

import asyncio
import os
import signal
import threading
from concurrent.futures import Future
from contextlib import suppress
from pathlib import Path

import psutil

from workers.core.deadlines import Deadline
from workers.core.errors import UnreachableError
from workers.core.redact import redact
from workers.local.broker import BrokerStatus, EmbeddedBroker

_LOOK_EVERY = 0.25  # seconds
_UNDO_WITHIN = 3.0
_TAIL_BYTES = 8192
_STARTER = "start kafka"


class RunningBroker:
    """A broker that we started; see `workers.local.supervisor.Running`. It runs detached, so it is watched by its pid."""

    def __init__(self, broker: EmbeddedBroker, pid: int, log: Path) -> None:
        self._broker = broker
        self._pid = pid
        self._log = log

    @classmethod
    async def launch(cls, broker: EmbeddedBroker) -> "RunningBroker":
        """Start the broker and wait until it serves. Raises `UnreachableError`."""
        given_up = threading.Event()
        starting = _start(broker, given_up)
        try:
            status: BrokerStatus = await asyncio.shield(starting)
        except asyncio.CancelledError:
            given_up.set()
            await _undo(broker, starting)
            raise
        if status.pid is None:
            raise UnreachableError(f"the embedded Kafka started and ended again; see {status.log}")
        return cls(broker, status.pid, Path(status.log))

    @property
    def pid(self) -> int:
        """See `Running`."""
        return self._pid

    @property
    def exit_code(self) -> int | None:
        """See `Running`."""
        return None

    async def wait(self) -> str:
        """See `Running`."""
        while self._alive():  # noqa: ASYNC110 - the end of a detached process is no event of this loop
            await asyncio.sleep(_LOOK_EVERY)
        return "the broker ended"

    async def stop(self, deadline: Deadline) -> bool:
        """See `Running`."""
        await asyncio.to_thread(self._broker.stop, deadline.remaining())
        return True

    def kill(self) -> None:
        """See `Running`."""
        # Not through `broker`, which by now may know of another process that somebody else started.
        if self._alive():
            os.killpg(self._pid, signal.SIGKILL)

    def last_lines(self, count: int) -> list[str]:
        """See `Running`."""
        with suppress(FileNotFoundError), self._log.open("rb") as log:
            size = log.seek(0, 2)
            log.seek(max(0, size - _TAIL_BYTES))
            return [redact(line) for line in log.read().decode(errors="replace").splitlines()][-count:]
        return []

    def _alive(self) -> bool:
        try:
            return psutil.Process(self._pid).status() != psutil.STATUS_ZOMBIE
        except psutil.NoSuchProcess:
            return False


def still_starting() -> bool:
    """Whether a given up start is not over: it downloads, with threads that the interpreter would wait for at exit."""
    return any(thread.name == _STARTER for thread in threading.enumerate())


def _start(broker: EmbeddedBroker, given_up: threading.Event) -> "asyncio.Future[BrokerStatus]":
    """Start in a thread of its own: the event loop would wait for its executor's before it closes.

    A broker that runs only after the start was given up is ended by the thread, for nobody waits for it any more.
    """
    started: Future[BrokerStatus] = Future()

    def work() -> None:
        try:
            status = broker.start()
            if given_up.is_set():
                broker.kill()
            started.set_result(status)
        except Exception as error:  # noqa: BLE001 - whatever it is, the one who waits gets it
            started.set_exception(error)

    threading.Thread(target=work, name=_STARTER, daemon=True).start()
    return asyncio.wrap_future(started)


async def _undo(broker: EmbeddedBroker, starting: "asyncio.Future[BrokerStatus]") -> None:
    """The thread can't be interrupted, but it gives up as soon as its Java process is gone.

    While it downloads there is none yet: then the thread ends with our process.
    """
    deadline = Deadline.after(_UNDO_WITHIN)
    while not starting.done() and not deadline.expired:
        broker.kill()
        await asyncio.wait((starting,), timeout=_LOOK_EVERY)
    broker.kill()
    if starting.done() and not starting.cancelled():
        starting.exception()  # looked at, so that nobody logs it
