"""The ledger as a file to query: what became of every letter, kept between calls as the letters are.

`ledger_state` is for whoever decides something; this is for whoever looks.
"""

from collections import Counter
from collections.abc import Mapping
from contextlib import AbstractContextManager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import duckdb

from dlq_tools import ledger_records, standing
from dlq_tools.cache_file import CacheFile, place
from dlq_tools.columns import iso
from dlq_tools.database import insert
from dlq_tools.ledger_records import (
    MENDED,
    Claim,
    Entry,
    Letter,
    Mended,
    State,
    Value,
    kind_of,
    read_value,
    ungrouped,
)
from workers.core.records import Received

VERSION = "1"
_LONGEST_UNREAD = 12 * 3600.0
"""Seconds. A record that takes something back is kept for a day after compaction; after half of it all is read anew."""
_STANDING = """
SELECT state, at_ms, who, job, why, replays, sent_to, became, twice FROM entries
WHERE topic = ? AND partition = ? AND "offset" = ?
"""
_CLAIMED = 'SELECT job, at_ms FROM claims WHERE topic = ? AND partition = ? AND "offset" = ? ORDER BY at_ms'
_COPY = 'SELECT at_ms, who, how FROM mended WHERE topic = ? AND partition = ? AND "offset" = ?'
_SAME = 'old.topic = batch.topic AND old.partition = batch.partition AND old."offset" = batch."offset"'
_NOTHING = [None, None, None]
"""In place of a letter, of a claim that holds none any more."""
Row = tuple[Any, ...]


@dataclass
class Changes:
    """What a stretch of the ledger says, folded: the last word on each letter, and the claims that are open then."""

    claims: dict[str, tuple[str | None, int, set[Letter]]] = field(default_factory=dict)
    entries: dict[Letter, Row | None] = field(default_factory=dict)
    mended: dict[Letter, Row | None] = field(default_factory=dict)

    def take(self, record: Received) -> None:
        """Fold one record in. What is damaged says nothing."""
        key = (record.key or b"").decode("utf-8", "replace")
        value = None if record.value is None else read_value(key, record.value)
        if value is None and record.value is not None:
            return
        match kind_of(key):
            case "":
                self._entry(Letter.parse(key), value)
            case ledger_records.CLAIM:
                self._claim(key, value)
            case ledger_records.MENDED:
                self._mend(Letter.parse(key.removeprefix(MENDED)), value)
            case _:
                pass

    def _entry(self, letter: Letter | None, value: Value | None) -> None:
        if letter is None or not isinstance(value, Entry | None):
            return
        self.entries[letter] = None if value is None else _entry_row(value)
        if value is not None:
            for _, _, letters in self.claims.values():
                letters.discard(letter)

    def _claim(self, key: str, value: Value | None) -> None:
        if isinstance(value, Claim):
            held = set[Letter]().union(*(letters for _, _, letters in self.claims.values()))
            free = set(ungrouped(value.letters)) - held  # who claimed a letter first has it
            self.claims.setdefault(key, (value.job, value.at, free))
        else:
            self.claims.pop(key, None)

    def _mend(self, letter: Letter | None, value: Value | None) -> None:
        if letter is not None and isinstance(value, Mended | None):
            self.mended[letter] = None if value is None else (value.at, value.who, value.how)


class LedgerIndex:
    """The ledger's index of one cluster."""

    def __init__(self, path: Path) -> None:
        self._file = CacheFile(path, VERSION, standing.create())

    @classmethod
    def of(cls, home: Path, cluster_id: str, topic: str) -> "LedgerIndex":
        """The index of a ledger topic, below `home`."""
        return cls(place(home, cluster_id, f"{topic}.ledger"))

    @property
    def path(self) -> Path:
        """Where it is."""
        return self._file.path

    def alone(self) -> AbstractContextManager[None]:
        """To be held while the index is filled, from `begin` on; see `CacheFile`."""
        return self._file.alone()

    def begin(self, bounds: tuple[int, int], identity: str, now: float) -> int:
        """Make the file fit the topic, and return the offset where reading goes on. `now` is in epoch seconds."""
        with suppress(FileNotFoundError):
            if now - self.path.stat().st_mtime > _LONGEST_UNREAD:
                self.path.unlink()
        known = self._file.begin({0: bounds}, identity)
        return max(bounds[0], known.get(0, bounds[0]))

    def changes(self) -> Changes:
        """Where folding goes on: the claims that were open at the end of what was read."""
        found = Changes()
        with self._file.reading() as connection:
            rows = connection.execute(
                'SELECT key, job, at_ms, topic, partition, "offset" FROM claims'
            ).fetchall()
        for key, job, at, *letter in rows:
            letters = found.claims.setdefault(key, (job, at, set()))[2]
            if letter != _NOTHING:
                letters.add(Letter(*letter))
        return found

    def write(self, changes: Changes, reached: int) -> None:
        """Keep what was folded, and that reading goes on at this offset: both or neither. The changes are then taken."""
        with self._file.writing() as connection:
            connection.execute("BEGIN")
            _replace(connection, "entries", changes.entries)
            _replace(connection, "mended", changes.mended)
            connection.execute("DELETE FROM claims")
            claims = [
                (key, job, at, *letter)
                for key, (job, at, letters) in changes.claims.items()
                for letter in letters or [_NOTHING]
            ]
            insert(connection, "claims", standing.TABLES["claims"], claims)
            connection.execute("INSERT OR REPLACE INTO progress VALUES (0, ?)", [reached])
            connection.execute("COMMIT")
        changes.entries.clear()
        changes.mended.clear()

    def standing(self, letter: Letter) -> dict[str, Any]:
        """All there is on record about a letter, for output; `new` where there is nothing."""
        with self._file.reading() as connection:
            entry = connection.execute(_STANDING, list(letter)).fetchone()
            claim = connection.execute(_CLAIMED, list(letter)).fetchone()
            copy = connection.execute(_COPY, list(letter)).fetchone()
        names = ("state", "at", "who", "job", "why", "replays", "sent_to", "became", "maybe_twice")
        told = dict(zip(names, entry or (State.NEW.value, *[None] * 8), strict=True))
        told["at"] = iso(told["at"])
        if claim is not None:
            told |= {"state": State.PLANNED.value, "job": claim[0], "at": iso(claim[1])}
        if copy is not None:
            told["mended"] = {"at": iso(copy[0]), "who": copy[1], "how": copy[2]}
        return {name: value for name, value in told.items() if value is not None and value is not False}

    def counts(self, firsts: Mapping[str, Mapping[int, int]]) -> dict[str, Counter[str]]:
        """By topic how many letters are in which state, of those that are on record; `firsts` are the first offsets."""
        found: dict[str, Counter[str]] = {topic: Counter() for topic in firsts}
        query = 'SELECT state, count(*) FROM entries WHERE topic = ? AND partition = ? AND "offset" >= ? GROUP BY ALL'
        with self._file.reading() as connection:
            for topic, partitions in firsts.items():
                for number, first in partitions.items():
                    found[topic].update(dict(connection.execute(query, [topic, number, first]).fetchall()))
        return found


def _entry_row(entry: Entry) -> Row:
    return (
        *(entry.state.value, entry.at, entry.who, entry.job, entry.why, entry.replays),
        *(entry.to, entry.next, entry.twice),
    )


def _replace(connection: duckdb.DuckDBPyConnection, table: str, changed: Mapping[Letter, Row | None]) -> None:
    """What a table says of these letters gives way to what is said now; None: to nothing."""
    connection.execute('CREATE TEMP TABLE batch AS SELECT topic, partition, "offset" FROM entries LIMIT 0')
    insert(connection, "batch", standing.LETTER, changed)
    connection.execute(f"DELETE FROM {table} AS old USING batch WHERE {_SAME}")  # noqa: S608 - our own names
    connection.execute("DROP TABLE batch")
    rows = [(*letter, *row) for letter, row in changed.items() if row is not None]
    insert(connection, table, standing.TABLES[table], rows)
