"""A DuckDB file that holds what a topic says, and remembers how far it has read.

It is a cache: whatever is wrong with the file, it is written again from Kafka. It holds texts of requests, so only its
owner may read it.
"""

import fcntl
import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import duckdb
from tenacity import Retrying, retry_if_exception, stop_after_delay, wait_fixed

from dlq_tools.database import connect, look, reason
from workers.core.errors import UsageError

_PATIENCE = 120.0  # seconds to wait for another command that writes the file
_STEP = 0.1


@dataclass(frozen=True, slots=True)
class CacheFile:
    """Every use opens the file and closes it again, so that commands can take turns.

    `version` is that of what is stored; `tables` are the statements that make the tables, beside `progress` (by
    partition) and `about`.
    """

    path: Path
    version: str
    tables: Sequence[str]

    @contextmanager
    def alone(self) -> Iterator[None]:
        """Nobody else fills the file meanwhile: two who read on from one place would write everything twice.

        The lock goes with the process. Raises `UsageError` where another command fills it for too long.
        """
        self.path.parent.mkdir(parents=True, exist_ok=True)
        with self.path.with_suffix(".lock").open("wb") as lock:
            try:
                _waiting(BlockingIOError)(fcntl.flock, lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError as error:
                raise _busy(self.path) from error
            yield

    def begin(self, bounds: Mapping[int, tuple[int, int]], identity: str) -> dict[int, int]:
        """Make the file fit the topic: written anew where it is another one, or one of another version.

        `bounds` are the first and the next offset of every partition, `identity` is the topic's own id. Returns where
        reading goes on, by partition, for those that were read before.
        """
        if not self._usable(identity, bounds):
            self._create(identity)
        return self.progress()

    def progress(self) -> dict[int, int]:
        """Where reading goes on, by partition."""
        with self.reading() as connection:
            return dict(connection.execute("SELECT partition, next_offset FROM progress").fetchall())

    @contextmanager
    def reading(self, ledger: Path | None = None) -> Iterator[duckdb.DuckDBPyConnection]:
        """A connection that can't write, with the ledger's index beside it.

        Raises `UsageError` where another command keeps the file for too long.
        """
        with closing(_patiently(self.path, partial(look, self.path, ledger))) as connection:
            yield connection

    @contextmanager
    def writing(self) -> Iterator[duckdb.DuckDBPyConnection]:
        """A connection that nobody else has beside it. Raises as `reading` does."""
        with closing(_patiently(self.path, partial(connect, self.path))) as connection:
            yield connection

    def _usable(self, identity: str, bounds: Mapping[int, tuple[int, int]]) -> bool:
        """Whether the file is ours, of this version, and of this very topic: one that was created again is another."""
        if not self.path.exists():
            return False
        try:
            with self.reading() as connection:
                row = connection.execute("SELECT version, identity FROM about").fetchone()
        except duckdb.Error:
            return False  # damaged, or of another version of DuckDB
        ahead = any(done > bounds.get(number, (0, 0))[1] for number, done in self.progress().items())
        return row == (self.version, identity) and not ahead

    def _create(self, identity: str) -> None:
        self.path.parent.mkdir(parents=True, exist_ok=True)
        self.path.parent.chmod(0o700)
        for leftover in self.path.parent.glob(f"{self.path.name}*"):  # and what DuckDB keeps beside it
            shutil.rmtree(leftover) if leftover.is_dir() else leftover.unlink()
        with self.writing() as connection:
            for table in self.tables:
                connection.execute(table)
            connection.execute("CREATE TABLE progress (partition BIGINT PRIMARY KEY, next_offset BIGINT)")
            connection.execute(
                "CREATE TABLE about AS SELECT ?::VARCHAR AS version, ?::VARCHAR AS identity",
                [self.version, identity],
            )
        self.path.chmod(0o600)


def place(home: Path, cluster_id: str, name: str) -> Path:
    """Where the file of a topic of a cluster is, below `home`."""
    safe = "".join(char for char in cluster_id if char.isalnum() or char in "-_")
    return home / "dlq" / (safe or "cluster") / f"{name}.duckdb"


def _patiently(path: Path, opening: Callable[[], duckdb.DuckDBPyConnection]) -> duckdb.DuckDBPyConnection:
    """Open a file, waiting for other commands to be done with it."""
    try:
        return _waiting(duckdb.IOException)(opening)
    except duckdb.Error as error:
        if not _is_taken(error):
            raise
        raise _busy(path) from error


def _waiting(taken: type[Exception]) -> Retrying:
    """Calls again as long as this error says that somebody else has the file, but not for ever."""
    return Retrying(
        retry=retry_if_exception(lambda error: isinstance(error, taken) and _is_taken(error)),
        stop=stop_after_delay(_PATIENCE),
        wait=wait_fixed(_STEP),
        reraise=True,
    )


def _is_taken(error: BaseException) -> bool:
    return isinstance(error, BlockingIOError) or (
        isinstance(error, duckdb.IOException) and "lock" in reason(error)
    )


def _busy(path: Path) -> UsageError:
    return UsageError(f"another command is writing the index {path}: wait until it is done")
