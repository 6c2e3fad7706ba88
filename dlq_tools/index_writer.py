"""Writing letters into an index: in large transactions, which DuckDB writes to the file once and without a log."""

from collections.abc import Mapping, Sequence

import duckdb

from dlq_tools.columns import STORED, IndexedLetter, sql_type
from dlq_tools.database import insert

_LETTERS = 50_000
_BYTES = 32 * 2**20
"""What one transaction holds at most, of letters and of their texts: it has to fit into DuckDB's memory."""

_COLUMNS = {name: sql_type(name) for name in STORED}


class IndexWriter:
    """Adds letters over one connection, which its owner closes. What was not committed when it closes is gone."""

    def __init__(self, connection: duckdb.DuckDBPyConnection) -> None:
        self._connection = connection
        self._letters = 0
        self._bytes = 0

    @property
    def full(self) -> bool:
        """Whether it is time to commit."""
        return self._letters >= _LETTERS or self._bytes >= _BYTES

    def add(self, letters: Sequence[IndexedLetter]) -> None:
        """Add letters to the transaction."""
        if not letters:
            return
        if not self._letters:
            self._connection.execute("BEGIN")
        rows = (letter[1:] for letter in letters)  # the topic is the index's own
        self._bytes += insert(self._connection, "letters", _COLUMNS, rows)
        self._letters += len(letters)

    def commit(self, progress: Mapping[int, int]) -> None:
        """Keep what was added, and that reading goes on at these offsets, by partition: both or neither."""
        if not self._letters:
            self._connection.execute("BEGIN")
        self._connection.executemany("INSERT OR REPLACE INTO progress VALUES (?, ?)", list(progress.items()))
        self._connection.execute("COMMIT")
        self._letters = self._bytes = 0
