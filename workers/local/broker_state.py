"""What outlives a command: the broker's ports and pid, and the lock that lets one command at a time change them."""

import fcntl
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path

import orjson
import structlog

from workers.core.deadlines import Deadline
from workers.core.errors import UnreachableError

_LOOK_EVERY = 0.05  # seconds
_log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class BrokerState:
    """`pid` is None once the broker was stopped; the ports stay, so that the next start can have them again."""

    port: int
    controller_port: int
    pid: int | None = None


def load_state(file: Path) -> BrokerState | None:
    """What was saved, or None if nothing usable was."""
    try:
        saved = orjson.loads(file.read_bytes())
        return BrokerState(int(saved["port"]), int(saved["controller_port"]), saved["pid"])
    except FileNotFoundError:
        return None
    except (orjson.JSONDecodeError, KeyError, TypeError, ValueError) as error:
        _log.warning("broker_state_unreadable", file=str(file), error=str(error), action="ignored")
        return None


def save_state(file: Path, state: BrokerState) -> None:
    """Replace what was saved; never leaves half a file."""
    fresh = file.with_suffix(".new")
    fresh.write_bytes(orjson.dumps(asdict(state)))
    fresh.replace(file)


@contextmanager
def locked(file: Path, deadline: Deadline) -> Iterator[None]:
    """Hold the lock; the kernel frees it however the holder ends. Raises `UnreachableError` at the deadline."""
    file.parent.mkdir(parents=True, exist_ok=True)
    with file.open("ab") as stream:
        while not _try_lock(stream.fileno()):
            if deadline.expired:
                raise UnreachableError(f"another command is still starting or stopping the broker ({file})")
            time.sleep(_LOOK_EVERY)
        yield


def _try_lock(descriptor: int) -> bool:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True
