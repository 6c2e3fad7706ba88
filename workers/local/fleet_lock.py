"""One fleet a home directory."""

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from workers.core.errors import UsageError


@contextmanager
def fleet_lock(home: Path) -> Iterator[None]:
    """Hold the fleet's lock; the kernel frees it however the holder ends. Raises `UsageError` while another has it."""
    home.mkdir(parents=True, exist_ok=True)
    file = home / "up.lock"
    with file.open("a+", encoding="ascii") as stream:
        try:
            fcntl.flock(stream.fileno(), fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            stream.seek(0)
            holder = stream.read().strip() or "?"
            raise UsageError(
                f"the fleet is already up (process {holder}, data in {home});"
                f" stop it with Ctrl-C there or `kill {holder}`, or set RELAYFLEET_HOME for a second one"
            ) from None
        stream.truncate(0)
        stream.write(str(os.getpid()))
        stream.flush()
        yield
        stream.truncate(0)
