"""How a download looks: a bar on a terminal, a line now and then elsewhere; on standard error either way."""

import threading

from rich.console import Console
from rich.progress import BarColumn, Progress, TaskID, TextColumn, TimeElapsedColumn

from workers.local.kafka_jars import Jar

_LINE_EVERY = 10  # jars


class DownloadReport:
    """A `Report` for people."""

    def __init__(self, title: str, console: Console | None = None) -> None:
        self._title = title
        self._console = console or Console(stderr=True, soft_wrap=True, highlight=False)
        self._lock = threading.Lock()
        self._jars = self._done = self._bytes = 0
        self._bar: tuple[Progress, TaskID] | None = None

    def begin(self, jars: int) -> None:
        """See `Report`."""
        self._jars = jars
        if not self._console.is_terminal:
            self._console.print(f"{self._title}: downloading {jars} jars")
            return
        columns = (
            TextColumn(self._title),
            BarColumn(),
            TextColumn("{task.completed:.0f}/{task.total:.0f} jars, {task.fields[size]}"),
            TimeElapsedColumn(),
        )
        progress = Progress(*columns, console=self._console, transient=True)
        progress.start()
        self._bar = (progress, progress.add_task(self._title, total=jars, size=self._size()))

    def received(self, size: int) -> None:
        """See `Report`."""
        with self._lock:
            self._bytes += size
            if self._bar is not None:
                progress, task = self._bar
                progress.update(task, size=self._size())

    def finished(self, jar: Jar) -> None:
        """See `Report`."""
        with self._lock:
            self._done += 1
            if self._bar is not None:
                progress, task = self._bar
                progress.update(task, completed=self._done)
            elif self._done % _LINE_EVERY == 0:
                self._console.print(f"{self._title}: {self._done}/{self._jars} jars, {self._size()}")

    def end(self) -> None:
        """See `Report`."""
        if self._bar is not None:
            self._bar[0].stop()
        self._console.print(f"{self._title}: {self._done} of {self._jars} jars downloaded, {self._size()}")

    def _size(self) -> str:
        return f"{self._bytes / 1e6:.1f} MB"
