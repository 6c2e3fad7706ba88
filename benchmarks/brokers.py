"""The broker of a benchmark: its own, which it may kill, or one that runs already."""

import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import Any

import psutil

from benchmarks.warming import SPAN, warm
from workers.local.broker import EmbeddedBroker
from workers.local.children import Watchdog

Say = Callable[[str], object]


class Broker:
    """A broker of our own, tuned for measuring, with data that nobody keeps; or one that runs already."""

    def __init__(self, home: Path, given: str | None = None) -> None:
        self._given = given
        self._own = None if given else EmbeddedBroker(home, performance=True)
        self._port = given
        self._watchdog: Watchdog | None = None

    @property
    def bootstrap(self) -> str:
        """Its address, also while it is killed."""
        assert self._port is not None  # noqa: S101 - started
        return self._port

    @property
    def own(self) -> bool:
        """Whether it is ours to kill."""
        return self._own is not None

    def pids(self) -> dict[str, int]:
        """Its process, where it runs on this machine."""
        pid = self._own.status().pid if self._own is not None else _listening(self.bootstrap)
        return {"broker": pid} if pid is not None else {}

    def start(self) -> None:
        """Start it, or again."""
        if self._own is not None:
            started = self._own.start()
            self._port = started.bootstrap
            self._watchdog = self._watchdog or Watchdog()
            if started.pid is not None:
                self._watchdog.add(started.pid)

    def kill(self) -> None:
        """SIGKILL."""
        if self._own is not None:
            self._own.kill()

    def stop(self) -> None:
        """Stop it, where it is ours."""
        if self._own is not None:
            self._own.stop()
        if self._watchdog is not None:
            self._watchdog.close()


@cache
def _listening(bootstrap: str) -> int | None:
    """The process behind an address of the loopback interface; None where it can't be told."""
    host, _, port = bootstrap.rpartition(":")
    if host not in {"127.0.0.1", "localhost"}:
        return None
    try:
        listening = psutil.net_connections("tcp")
    except psutil.AccessDenied:
        return None
    return next((each.pid for each in listening if _listens(each, int(port))), None)


def _listens(connection: Any, port: int) -> bool:
    return bool(connection.status == psutil.CONN_LISTEN and connection.laddr.port == port)


@contextmanager
def broker(given: str | None = None, say: Say | None = None) -> Iterator[Broker]:
    """A broker, started; one of our own is warmed up where there is somebody to tell."""
    with tempfile.TemporaryDirectory(prefix="relayfleet-bench-") as home:
        made = Broker(Path(home), given)
        made.start()
        try:
            if say is not None and made.own:
                _warmed(made, say)
            yield made
        finally:
            made.stop()


def _warmed(made: Broker, say: Say) -> None:
    for pid in made.pids().values():
        costs = warm(made.bootstrap, pid)
        say(
            f"the broker is warm: {costs[0]:,.0f} us of CPU a record at first, {min(costs):,.1f} after {SPAN * len(costs):.0f} s"
        )
