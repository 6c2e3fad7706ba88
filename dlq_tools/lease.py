"""One process works on a job at a time."""

import os
import socket
from collections.abc import Callable
from uuid import uuid4

import psutil

from dlq_tools.ledger import Ledger
from dlq_tools.ledger_records import LEASE, Lease
from workers.core.clock import Clock
from workers.core.errors import UsageError

SECONDS = 15.0
"""How long a lease holds that nobody renews. A process that could not renew sends nothing more after that."""

_RENEW_AFTER = 5.0
_MARGIN = 2.0  # seconds that a send may take after the last look at the lease


class JobLease:
    """This process's right to send for a job. `token` is in every claim that it makes."""

    def __init__(
        self, ledger: Ledger, job: str, clock: Clock, is_dead: Callable[[Lease], bool] | None = None
    ) -> None:
        self.token = uuid4().hex[:12]
        self._ledger = ledger
        self._job = job
        self._clock = clock
        self._is_dead = is_dead or holder_is_dead
        self._taken_at = 0.0  # monotonic

    async def take(self) -> None:
        """Take it. Raises `UsageError` while another process has it that may be alive."""
        held = self._ledger.state.leases.get(self._job)
        await self._write(held.token if held is not None and self._is_dead(held) else None)
        self._hold()

    async def keep(self) -> None:
        """Renew it where that is due. Raises `UsageError` where somebody else has it by now."""
        if self._clock.monotonic() - self._taken_at >= _RENEW_AFTER:
            await self._write(None)
        self._hold()

    def check(self) -> None:
        """Raise `UsageError` unless it is ours, for long enough to send a batch."""
        self._hold()
        if self._clock.monotonic() - self._taken_at > SECONDS - _MARGIN:
            raise UsageError(
                f"job {self._job!r} was held up for longer than its lease; nothing of the last batch was sent, "
                "--resume goes on with it"
            )

    async def release(self) -> None:
        """Give it back, so that the job can be resumed at once. Another's is left alone."""
        held = self._ledger.state.leases.get(self._job)
        if held is not None and held.token == self.token:
            await self._ledger.write([(LEASE + self._job, None)])

    async def _write(self, takes: str | None) -> None:
        started, now = self._clock.monotonic(), self._ledger.now_ms
        lease = Lease(
            token=self.token,
            host=socket.gethostname(),
            pid=os.getpid(),
            at=now,
            until=now + round(SECONDS * 1000),
            takes=takes,
        )
        await self._ledger.write_and_read(LEASE + self._job, lease)
        self._taken_at = started

    def _hold(self) -> None:
        held = self._ledger.state.leases.get(self._job)
        if held is not None and held.token == self.token:
            return
        if held is None:
            raise UsageError(f"somebody ended the lease of job {self._job!r}; --resume goes on with it")
        left = max(0.0, held.until / 1000 - self._clock.wall())
        raise UsageError(
            f"job {self._job!r} is worked on by process {held.pid} on {held.host}; "
            f"should that be gone, it can be taken over in {left:.0f} s"
        )


def holder_is_dead(lease: Lease) -> bool:
    """Whether the process is known to be gone: it ran on this machine, and no process of that age has its id."""
    if lease.host != socket.gethostname():
        return False
    try:
        return bool(psutil.Process(lease.pid).create_time() > lease.at / 1000)
    except psutil.NoSuchProcess:
        return True
    except psutil.Error:
        return False


def is_running(ledger: Ledger, job: str) -> bool:
    """Whether some process seems to be at work on a job."""
    lease = ledger.state.leases.get(job)
    return lease is not None and lease.until > ledger.now_ms and not holder_is_dead(lease)
