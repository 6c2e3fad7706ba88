"""The index of a dead-letter topic: what its letters are, so that a second look is quick."""

from array import array
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from itertools import groupby, islice
from operator import itemgetter
from pathlib import Path
from typing import Any

import duckdb

from dlq_tools import where
from dlq_tools.avro_files import NONE, AvroFiles
from dlq_tools.cache_file import CacheFile, place
from dlq_tools.columns import STORED, IndexedLetter, sql_type
from dlq_tools.index_writer import IndexWriter
from dlq_tools.standing import create_table
from dlq_tools.where import Condition

VERSION = "2"
"""Of what is stored; an index of another version is written again."""

_PAGE = 1000
_COLUMNS = ", ".join(f'"{name}"' for name in STORED)
_TABLE = create_table("letters", {name: sql_type(name) for name in STORED})


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
    """The index of one topic. Every method opens the file and closes it again, so that commands can take turns.

    `ledger` is the file of the ledger's index, for the states of the letters; None: all are new. `schemas` are those
    that values are read with.
    """

    def __init__(self, path: Path, topic: str, ledger: Path | None = None, schemas: AvroFiles = NONE) -> None:
        self._file = CacheFile(path, VERSION, [_TABLE])
        self._ledger = ledger
        self.topic = topic
        self.schemas = schemas

    @classmethod
    def of(
        cls,
        home: Path,
        cluster_id: str,
        topic: str,
        ledger: Path | None = None,
        schemas: AvroFiles = NONE,
    ) -> "Index":
        """The index of a topic of a cluster, below `home`: one of its own for letters that are read with schemas."""
        name = f"{topic}@{schemas.digest}" if schemas.digest else topic
        return cls(place(home, cluster_id, name), topic, ledger, schemas)

    @property
    def path(self) -> Path:
        """Where it is."""
        return self._file.path

    def alone(self) -> AbstractContextManager[None]:
        """To be held while the index is filled, from `begin` on; see `CacheFile`."""
        return self._file.alone()

    def begin(self, bounds: Mapping[int, tuple[int, int]], identity: str) -> dict[int, int]:
        """Make the index fit the topic as it is: forget what was deleted from it, or all where it is another topic.

        `bounds` are the first and the next offset of every partition, `identity` is the topic's own id. Returns where
        reading goes on, by partition.
        """
        known = self._file.begin(bounds, identity)
        deleted = [(number, first) for number, (first, _) in bounds.items() if first and number in known]
        if deleted:
            with self._file.writing() as connection:
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
        with self._file.writing() as connection:
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
            with self._file.reading(self._ledger) as connection:
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
        with self._file.reading() as connection:
            found = connection.execute(query, [partition, min(offsets), max(offsets), list(offsets)])
            return [IndexedLetter(self.topic, *row) for row in found.fetchall()]

    def __len__(self) -> int:
        return int(next(self.rows("SELECT count(*) FROM chosen"))[0])


def _in_time(since_ms: int | None, until_ms: int | None) -> str:
    """Only whole numbers come into the query."""
    since = "" if since_ms is None else f" AND failed_at >= make_timestamptz({int(since_ms)} * 1000)"
    return since + ("" if until_ms is None else f" AND failed_at < make_timestamptz({int(until_ms)} * 1000)")
