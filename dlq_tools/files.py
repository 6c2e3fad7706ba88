"""Dead letters as files: one JSON object a line, or Parquet.

With their payloads they are whole, byte for byte, and can be imported into a topic; without, they are for analysis.
"""

import base64
import binascii
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, BinaryIO, Final

import duckdb
import orjson

from dlq_tools.columns import IndexedLetter
from dlq_tools.database import reason
from dlq_tools.reading import indexed
from workers.core.errors import UsageError
from workers.core.records import Outgoing, Received

KIND: Final = "relayfleet.dead_letter.v1"
"""What every exported line says of itself, and an import insists on."""

_SUFFIXES = (".ndjson", ".jsonl", ".parquet")
_PARQUET = ".parquet"
_TYPES = (
    {"partition": "BIGINT", "offset": "BIGINT", "timestamp_ms": "BIGINT"}
    | dict.fromkeys(
        ("status", "attempts", "origin_partition", "origin_offset", "failed_partition", "failed_offset"),
        "BIGINT",
    )
    | {"replay_count": "BIGINT", "size": "BIGINT", "raw_headers": "VARCHAR"}
)
Line = dict[str, Any]


def line(letter: IndexedLetter) -> Line:
    """A letter without its bytes."""
    return {"kind": KIND, **letter.public(), "timestamp_ms": letter.timestamp_ms}


def whole(record: Received) -> Line:
    """A letter with its bytes, base64."""
    headers = [[name, _text(value)] for name, value in record.headers]
    return {
        **line(indexed(record)),
        "raw_key": _text(record.key),
        "raw_value": _text(record.value),
        "raw_headers": orjson.dumps(headers).decode(),
    }


def check_target(path: Path, *, overwrite: bool) -> None:
    """Raise `UsageError` for a file that can't be written, before anything is read."""
    if path.suffix not in _SUFFIXES:
        raise UsageError(f"{path} names no format: end it with {', '.join(_SUFFIXES)}")
    if path.exists() and not overwrite:
        raise UsageError(f"{path} exists; --overwrite replaces it")
    if not path.parent.is_dir():
        raise UsageError(f"there is no folder {path.parent}")


async def write(path: Path, lines: AsyncIterator[Line]) -> int:
    """Write all or nothing, readable by its owner alone; returns how many. Memory: a line."""
    with _part(path) as part:
        async for one in lines:
            part.add(one)
    return part.written


@dataclass(slots=True)
class _Part:
    """A file on its way. `longest` is that of a line, in bytes."""

    file: BinaryIO
    written: int = 0
    longest: int = 0

    def add(self, one: Line) -> None:
        self.longest = max(self.longest, self.file.write(orjson.dumps(one, option=orjson.OPT_APPEND_NEWLINE)))
        self.written += 1


@contextmanager
def _part(path: Path) -> Iterator[_Part]:
    """A file in a folder that nobody else may enter; it takes the place of `path` when nothing went wrong."""
    try:
        with TemporaryDirectory(dir=path.parent, prefix=".dlq-export-") as private:
            place = Path(private, path.name)
            with place.open("wb") as file:
                part = _Part(file)
                yield part
            if path.suffix == _PARQUET:
                _to_parquet(place, part.longest)
            place.chmod(0o600)
            place.replace(path)
    except OSError as error:
        raise UsageError(f"{path} can't be written: {error.strerror}") from error


def read(path: Path) -> Iterator[Outgoing]:
    """The records of an exported file, without a topic. Raises `UsageError` naming the line that is none of ours."""
    for number, one in enumerate(_lines(path), start=1):
        if one.get("kind") != KIND:
            raise UsageError(f"{path}, line {number}: not a dead letter that `relayfleet dlq export` wrote")
        if "raw_value" not in one:
            raise UsageError(
                f"{path}, line {number}: exported without its payload; export with --show-payload"
            )
        yield _record(path, number, one)


def _record(path: Path, number: int, one: Mapping[str, Any]) -> Outgoing:
    try:
        headers = tuple((str(name), _bytes(value)) for name, value in orjson.loads(one["raw_headers"]))
        time = int(one["timestamp_ms"])
        return Outgoing(
            "", _bytes(one["raw_key"]), _bytes(one["raw_value"]), headers, None, time if time >= 0 else None
        )
    except (KeyError, TypeError, ValueError, binascii.Error):
        failure = UsageError(f"{path}, line {number}: its fields are damaged; nothing was imported")
    raise failure


def _lines(path: Path) -> Iterator[Line]:
    try:
        if path.suffix == _PARQUET:
            yield from _parquet_lines(path)
            return
        with path.open("rb") as file:
            for text in file:
                found: Any = None
                with suppress(orjson.JSONDecodeError):
                    found = orjson.loads(text)
                yield found if isinstance(found, dict) else {}
    except OSError as error:
        raise UsageError(f"{path} can't be read: {error.strerror}") from error


def _parquet_lines(path: Path) -> Iterator[Line]:
    connection = duckdb.connect()
    try:
        found = connection.execute("SELECT * FROM read_parquet(?)", [str(path)])
        names = [column[0] for column in found.description or ()]
        while page := found.fetchmany(1000):
            yield from (dict(zip(names, row, strict=True)) for row in page)
    except duckdb.Error as error:
        raise UsageError(f"{path} can't be read as Parquet: {reason(error)}") from error
    finally:
        connection.close()


def _to_parquet(part: Path, longest: int) -> None:
    """Turn the lines of a file into Parquet, in its place. `longest` is that of a line, in bytes."""
    with part.open("rb") as file:
        names = {name for text in islice(file, 1) for name in orjson.loads(text)}
    columns = {name: _TYPES.get(name, "VARCHAR") for name in sorted(names or {"kind"})}
    target = part.with_suffix(".parquet-part")
    # A reader takes twice the longest line that it is told of, in each of its threads.
    room = max(_LINE_ROOM, 2 * longest)
    connection = duckdb.connect(config={"memory_limit": f"{512 + 8 * room // 2**20}MB", "threads": 1})
    try:
        lines = connection.read_json(
            str(part), format="newline_delimited", columns=columns, maximum_object_size=room
        )
        lines.write_parquet(str(target), compression="zstd")
    finally:
        connection.close()
    target.replace(part)


_LINE_ROOM = 16 * 2**20


def _text(data: bytes | None) -> str | None:
    return None if data is None else base64.b64encode(data).decode()


def _bytes(text: str | None) -> bytes | None:
    return None if text is None else base64.b64decode(text, validate=True)
