"""Dead letters as files: exported whole, they come back byte for byte."""

from collections.abc import AsyncIterator
from pathlib import Path

import orjson
import pytest

from dlq_tools import files
from dlq_tools.reading import indexed
from tests.unit.dlq.letters import SPRING, ours, record
from workers.core.errors import UsageError
from workers.core.records import Outgoing, Received

MINUTE = 60_000


async def lines(*found: files.Line) -> AsyncIterator[files.Line]:
    for each in found:
        yield each


@pytest.mark.parametrize("name", ["letters.ndjson", "letters.parquet"])
async def test_what_was_exported_whole_comes_back_byte_for_byte(name: str, tmp_path: Path) -> None:
    path = tmp_path / name
    records = [
        ours(0),
        record(None, (("a", None), ("a", b"\xff")), offset=1),
        record(b"\xff\x00", SPRING, offset=2),
    ]
    assert await files.write(path, lines(*(files.whole(each) for each in records))) == 3
    assert path.stat().st_mode & 0o077 == 0
    assert list(files.read(path)) == [outgoing(each) for each in records]
    assert names_in(tmp_path) == [name]


def names_in(folder: Path) -> list[str]:
    return [each.name for each in folder.iterdir()]


def outgoing(each: Received) -> Outgoing:
    return Outgoing("", each.key, each.value, each.headers, None, each.timestamp_ms)


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        (b"{}", "line 1: not a dead letter"),
        (b"no json", "line 1: not a dead letter"),
        (orjson.dumps(files.line(indexed(ours(0)))), "line 1: exported without its payload"),
        (orjson.dumps(files.whole(ours(0))) + b"\n[]", "line 2: not a dead letter"),
        (orjson.dumps({**files.whole(ours(0)), "raw_value": "?"}), "line 1: its fields are damaged"),
        (orjson.dumps({**files.whole(ours(0)), "raw_headers": "[1]"}), "line 1: its fields are damaged"),
    ],
)
def test_only_what_was_exported_is_imported(text: bytes, reason: str, tmp_path: Path) -> None:
    path = tmp_path / "x.ndjson"
    path.write_bytes(text)
    with pytest.raises(UsageError, match=reason):
        list(files.read(path))


def test_what_is_no_parquet_says_so(tmp_path: Path) -> None:
    path = tmp_path / "x.parquet"
    path.write_bytes(b"nothing of the kind")
    with pytest.raises(UsageError, match="can't be read as Parquet"):
        list(files.read(path))
    with pytest.raises(UsageError, match="No such file"):
        list(files.read(tmp_path / "absent.ndjson"))


async def test_an_export_that_fails_leaves_the_old_file(tmp_path: Path) -> None:
    path = tmp_path / "x.ndjson"
    path.write_text("old")

    async def failing() -> AsyncIterator[files.Line]:
        yield files.line(indexed(ours(0)))
        raise UsageError("gone")

    with pytest.raises(UsageError, match="gone"):
        await files.write(path, failing())
    assert path.read_text() == "old"
    assert names_in(tmp_path) == [path.name]


def test_where_an_export_goes_is_checked_first(tmp_path: Path) -> None:
    (tmp_path / "x.ndjson").touch()
    for path, reason in [
        (tmp_path / "x.csv", "names no format"),
        (tmp_path / "x.ndjson", "--overwrite"),
        (tmp_path / "no" / "x.ndjson", "no folder"),
    ]:
        with pytest.raises(UsageError, match=reason):
            files.check_target(path, overwrite=False)
    files.check_target(tmp_path / "x.ndjson", overwrite=True)
