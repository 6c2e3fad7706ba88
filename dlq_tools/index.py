"""The index of a dead-letter topic: a DuckDB file that remembers how far it has read, so that a second look is quick.

It is a cache: whatever is wrong with the file, it is written again from Kafka. It holds texts of requests, so only its
owner may read it.
"""

import shutil
from array import array
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, closing, contextmanager
from itertools import groupby, islice
from operator import itemgetter
from pathlib import Path
from typing import Any

import duckdb
from tenacity import Retrying, retry_if_exception, stop_after_delay, wait_fixed

from dlq_tools import where
from dlq_tools.columns import STORED, IndexedLetter, sql_type
from dlq_tools.database import connect, reason
from dlq_tools.index_writer import IndexWriter
from dlq_tools.where import Condition
from workers.core.errors import UsageError

VERSION = 1
"""Of what is stored; an index of another version is written again."""

_PATIENCE = 120.0  # seconds to wait for another command that writes this index
_STEP = 0.1
_PAGE = 1000
_COLUMNS = ", ".join(f'"{name}"' for name in STORED)


class Selection:
    """The letters that were chosen, in order of partition and offset: their number first, then one after the other.

    Only positions are held, 12 bytes a letter; the letters come from the index page by page, and one that was purged
    meanwhile is passed over.
    """

    def __init__(self, index: "Index", partitions: "array[int]", offsets: "array[int]") -> None:
        self._index = index
        self._partitions = partitions
        self._offsets = offsets

    def __len__(self) -> int:
        return len(self._offsets)

    def __iter__(self) -> Iterator[IndexedLetter]:
        for partition, offsets in self._pages():
            yield from self._index.letters(partition, offsets)

    def positions(self) -> Iterator[tuple[int, int]]:
        """Partition and offset of each."""
        return zip(self._partitions, self._offsets, strict=True)

    def _pages(self) -> Iterator[tuple[int, Sequence[int]]]:
        for partition, group in groupby(self.positions(), key=itemgetter(0)):
            while page := [offset for _, offset in islice(group, _PAGE)]:
                yield partition, page


class Index:
    """The index of one topic. Every method opens the file and closes it again, so that commands can take turns."""

    def __init__(self, path: Path, topic: str) -> None:
        self.path = path
        self.topic = topic

    @classmethod
    def of(cls, home: Path, cluster_id: str, topic: str) -> "Index":
        """The index of a topic of a cluster, below `home`."""
        return cls(home / "dlq" / (_safe(cluster_id) or "cluster") / f"{topic}.duckdb", topic)

    def begin(self, bounds: Mapping[int, tuple[int, int]], identity: str) -> dict[int, int]:
        """Make the index fit the topic as it is: forget what was deleted from it, or all where it is another topic.

        `bounds` are the first and the next offset of every partition, `identity` is the topic's own id. Returns where
        reading goes on, by partition.
        """
        if not self._usable(identity, bounds):
            self._create(identity)
        known = self._progress()
        deleted = [(number, first) for number, (first, _) in bounds.items() if first and number in known]
        if deleted:
            with self._writing() as connection:
                connection.executemany('DELETE FROM letters WHERE partition = ? AND "offset" < ?', deleted)
        return {number: max(first, known.get(number, first)) for number, (first, _) in bounds.items()}

    def append(self, letters: Sequence[IndexedLetter], progress: Mapping[int, int]) -> None:
        """Add letters, and that reading goes on at these offsets: both or neither."""
        with self.writer() as writer:
            writer.add(letters)
            writer.commit(progress)

    @contextmanager
    def writer(self) -> Iterator[IndexWriter]:
        """Adds many letters; the file is held until the end."""
        with self._writing() as connection:
            yield IndexWriter(connection)

    def select(
        self,
        condition: Condition | None = None,
        since_ms: int | None = None,
        until_ms: int | None = None,
        positions: Iterable[tuple[int, int]] | None = None,
    ) -> Selection:
        """The letters that a condition holds for, that failed last in this time, out of these positions.

        What is None does not choose. `until_ms` is not included. Raises `UsageError` where the condition fails.
        """
        wanted = None if positions is None else frozenset(positions)
        partitions, offsets = array("i"), array("q")
        rows = self.rows('SELECT partition, "offset" FROM chosen ORDER BY ALL', condition, since_ms, until_ms)
        for partition, offset in rows:
            if wanted is None or (partition, offset) in wanted:
                partitions.append(partition)
                offsets.append(offset)
        return Selection(self, partitions, offsets)

    def rows(
        self,
        query: str,
        condition: Condition | None = None,
        since_ms: int | None = None,
        until_ms: int | None = None,
    ) -> Iterator[tuple[Any, ...]]:
        """Run a query of our own over `chosen`: the letters as `--where` sees them, that were chosen as in `select`.

        The file stays open until the last row is taken.
        """
        condition = condition or Condition("true", "true")
        chosen = where.filtered("*", self.topic, condition)
        text = f"WITH chosen AS ({chosen}{_in_time(since_ms, until_ms)}) {query}"
        try:
            with self._reading() as connection:
                cursor = connection.execute(text)
                while page := cursor.fetchmany(_PAGE):
                    yield from page
        except duckdb.Error as error:
            raise where.explained(error, condition) from None

    def letters(self, partition: int, offsets: Sequence[int]) -> list[IndexedLetter]:
        """The letters at these offsets of a partition, those that are there."""
        query = (
            f"SELECT {_COLUMNS} FROM letters "  # noqa: S608 - our own names
            'WHERE partition = ? AND "offset" BETWEEN ? AND ? AND "offset" IN (SELECT unnest(?::BIGINT[])) '
            'ORDER BY "offset"'
        )
        with self._reading() as connection:
            found = connection.execute(query, [partition, min(offsets), max(offsets), list(offsets)])
            return [IndexedLetter(self.topic, *row) for row in found.fetchall()]

    def __len__(self) -> int:
        return int(next(self.rows("SELECT count(*) FROM chosen"))[0])

    def _usable(self, identity: str, bounds: Mapping[int, tuple[int, int]]) -> bool:
        """Whether the file is ours, of this version, and of this very topic: one that was created again is another."""
        if not self.path.exists():
            return False
        try:
            with self._reading() as connection:
                row = connection.execute("SELECT version, identity FROM about").fetchone()
        except duckdb.Error:
            return False  # damaged, or of another version of DuckDB
        ahead = any(done > bounds.get(number, (0, 0))[1] for number, done in self._progress().items())
        return row == (VERSION, identity) and not ahead

    def _progress(self) -> dict[int, int]:
        with self._reading() as connection:
            return dict(connection.execute("SELECT partition, next_offset FROM progress").fetchall())

    def _create(self, identity: str) -> None:
        self.path.parent.mkdir(parents=True, exist_ok=True)
        self.path.parent.chmod(0o700)
        for leftover in self.path.parent.glob(f"{self.path.name}*"):
            shutil.rmtree(leftover) if leftover.is_dir() else leftover.unlink()
        columns = ", ".join(f'"{name}" {sql_type(name)}' for name in STORED)
        with self._writing() as connection:
            connection.execute(f"CREATE TABLE letters ({columns})")
            connection.execute("CREATE TABLE progress (partition BIGINT PRIMARY KEY, next_offset BIGINT)")
            connection.execute(
                "CREATE TABLE about AS SELECT ?::BIGINT AS version, ?::VARCHAR AS identity",
                [VERSION, identity],
            )
        self.path.chmod(0o600)

    def _reading(self) -> AbstractContextManager[duckdb.DuckDBPyConnection]:
        return closing(_opened(self.path, read_only=True))

    def _writing(self) -> AbstractContextManager[duckdb.DuckDBPyConnection]:
        return closing(_opened(self.path, read_only=False))


def _opened(path: Path, *, read_only: bool) -> duckdb.DuckDBPyConnection:
    """Open the file, waiting for other commands to be done with it."""
    waiting = Retrying(
        retry=retry_if_exception(_is_taken),
        stop=stop_after_delay(_PATIENCE),
        wait=wait_fixed(_STEP),
        reraise=True,
    )
    try:
        return waiting(connect, path, read_only=read_only)
    except duckdb.Error as error:
        if not _is_taken(error):
            raise
        raise UsageError(f"another command is writing the index {path}: wait until it is done") from error


def _is_taken(error: BaseException) -> bool:
    return isinstance(error, duckdb.IOException) and "lock" in reason(error)


def _in_time(since_ms: int | None, until_ms: int | None) -> str:
    """Only whole numbers come into the query."""
    since = "" if since_ms is None else f" AND failed_at >= make_timestamptz({int(since_ms)} * 1000)"
    return since + ("" if until_ms is None else f" AND failed_at < make_timestamptz({int(until_ms)} * 1000)")


def _safe(name: str) -> str:
    return "".join(char for char in name if char.isalnum() or char in "-_")
