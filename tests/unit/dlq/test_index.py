"""The index: what it finds, what it remembers, and that it is only a cache."""

from pathlib import Path

import duckdb
import pytest

from dlq_tools.columns import IndexedLetter
from dlq_tools.index import Index
from dlq_tools.reading import indexed
from dlq_tools.where import parse
from schemas.errors import ErrorClass
from tests.unit.dlq.letters import CONNECT, NOON_MS, SPRING, TOPIC, ours, record
from workers.core.errors import UsageError

MINUTE = 60_000


@pytest.fixture
def index(tmp_path: Path) -> Index:
    """Nine letters of ours in partition 0, and two of others in partition 1."""
    index = Index.of(tmp_path, "cluster", TOPIC)
    index.begin({0: (0, 9), 1: (0, 2)}, "id-1")
    kinds = [ErrorClass.TIMEOUT, ErrorClass.CONTEXT_LENGTH, ErrorClass.AUTH]
    letters = [indexed(ours(n, kinds[n % 3], payload={"text": f"laptop {n}", "n": n})) for n in range(9)]
    others = [
        indexed(record(b'{"payload": {"n": "many"}}', CONNECT, partition=1, offset=0)),
        indexed(record(b"\xff\x00", SPRING, partition=1, offset=1)),
    ]
    index.append(letters + others, {0: 9, 1: 2})
    return index


def chosen(index: Index, where: str) -> list[str]:
    """`partition:offset` of the letters for which this holds."""
    return [f"{letter.partition}:{letter.offset}" for letter in index.select(parse(where))]


@pytest.mark.parametrize(
    ("where", "found"),
    [
        ("class = 'timeout'", ["0:0", "0:3", "0:6"]),
        ("class = 'timeout' or true", [*(f"0:{n}" for n in range(9)), "1:0", "1:1"]),
        ("payload.text = 'laptop 4'", ["0:4"]),
        ("payload.text like '%4' and family = 'relayfleet'", ["0:4"]),
        ("payload.text in ('laptop 1', 'laptop 2')", ["0:1", "0:2"]),
        ("try(payload.n > 6)", ["0:7", "0:8"]),
        ("payload->>'$.text' = 'laptop 5'", ["0:5"]),
        ("value.payload.text = 'laptop 5'", ["0:5"]),
        ("headers.tenant = 'acme' and \"offset\" < 2", ["0:0", "0:1"]),
        ("headers.\"__connect.errors.connector.name\" = 'warehouse'", ["1:0"]),
        ("failed_at >= '2026-01-01 12:07:00' and family = 'relayfleet'", ["0:7", "0:8"]),
        ("position = 'dlq.model_requests:0:3'", ["0:3"]),
        ("payload is null", ["1:1"]),
        ("family = 'spring' and format = 'binary' and size = 2", ["1:1"]),
        ("class = 'nothing like it'", []),
        ("attempts = 4 or origin_offset = 108", ["0:8", "1:1"]),
    ],
)
def test_conditions_choose_letters_in_order(index: Index, where: str, found: list[str]) -> None:
    assert chosen(index, where) == found


def test_a_selection_is_counted_before_it_is_read(index: Index) -> None:
    selection = index.select(parse("family = 'relayfleet'"))
    assert len(selection) == 9
    assert list(selection.positions()) == [(0, n) for n in range(9)]
    assert [letter.message_id for letter in selection] == [f"req_{n}" for n in range(9)]


def test_what_comes_back_is_what_was_put_in(index: Index) -> None:
    (letter,) = index.select(parse("message_id = 'req_4'"))
    kinds = [ErrorClass.TIMEOUT, ErrorClass.CONTEXT_LENGTH]
    assert letter == indexed(ours(4, kinds[1], payload={"text": "laptop 4", "n": 4}))
    assert isinstance(letter, IndexedLetter)


def test_times_and_positions_narrow_a_selection(index: Index) -> None:
    late = index.select(since_ms=NOON_MS + 7 * MINUTE)
    assert [letter.offset for letter in late] == [7, 8]
    early = index.select(parse("family = 'relayfleet'"), until_ms=NOON_MS + MINUTE)
    assert [letter.offset for letter in early] == [0]
    named = index.select(parse("class = 'timeout'"), positions=[(0, 3), (0, 4), (1, 0), (5, 5)])
    assert list(named.positions()) == [(0, 3)]


def test_a_value_that_does_not_compare_is_the_users_error_and_is_not_shown(index: Index) -> None:
    with pytest.raises(UsageError, match=r"(?s)not alike.*TRY\(…\)") as caught:
        index.select(parse("payload.n > 6"))
    assert "many" not in str(caught.value)


def test_the_index_goes_on_where_it_ended(index: Index) -> None:
    assert index.begin({0: (0, 12), 1: (0, 2), 2: (5, 9)}, "id-1") == {0: 9, 1: 2, 2: 5}
    assert len(index) == 11


def test_what_was_purged_is_forgotten(index: Index) -> None:
    assert index.begin({0: (7, 9), 1: (2, 2)}, "id-1") == {0: 9, 1: 2}
    assert list(index.select().positions()) == [(0, 7), (0, 8)]


def test_a_purge_past_the_index_moves_it_on(index: Index) -> None:
    assert index.begin({0: (20, 25), 1: (0, 2)}, "id-1") == {0: 20, 1: 2}
    assert len(index) == 2


@pytest.mark.parametrize(("identity", "end"), [("id-2", 9), ("id-1", 3)], ids=["another id", "a shorter log"])
def test_a_topic_that_was_created_again_is_read_again(index: Index, identity: str, end: int) -> None:
    assert index.begin({0: (0, end), 1: (0, 2)}, identity) == {0: 0, 1: 0}
    assert len(index) == 0


def test_a_damaged_file_is_written_again(index: Index) -> None:
    index.path.write_bytes(b"not a database" * 1000)
    assert index.begin({0: (0, 9)}, "id-1") == {0: 0}
    index.append([indexed(ours(0))], {0: 1})
    assert len(index) == 1


def test_an_index_of_another_version_is_written_again(index: Index) -> None:
    with duckdb.connect(str(index.path)) as connection:
        connection.execute("UPDATE about SET version = 'other'")
    assert index.begin({0: (0, 9)}, "id-1") == {0: 0}


def test_only_its_owner_may_read_it(index: Index) -> None:
    assert index.path.stat().st_mode & 0o077 == 0
    assert index.path.parent.stat().st_mode & 0o077 == 0


def test_an_index_that_is_being_written_is_waited_for_and_then_named(
    index: Index, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("dlq_tools.cache_file._PATIENCE", 0.05)
    monkeypatch.setattr("dlq_tools.cache_file._STEP", 0.01)

    def taken(*_: object, **__: object) -> None:
        raise duckdb.IOException("IO Error: Could not set lock on file")

    monkeypatch.setattr("dlq_tools.cache_file.look", taken)
    with pytest.raises(UsageError, match="another command is writing the index"):
        index.select()


def test_no_cluster_id_leads_out_of_the_folder(tmp_path: Path) -> None:
    assert Index.of(tmp_path, "../../etc", "dlq.x").path == tmp_path / "dlq" / "etc" / "dlq.x.duckdb"
    assert Index.of(tmp_path, "?", "dlq.x").path.parent == tmp_path / "dlq" / "cluster"


def test_texts_with_nul_and_half_a_surrogate_do_no_harm(tmp_path: Path) -> None:
    index = Index.of(tmp_path, "c", TOPIC)
    index.begin({0: (0, 2)}, "id")
    letters = [
        indexed(record(b'{"payload": {"text": "a\\u0000b"}}', (("x", b"a\x00b"),), offset=0, key=b"\x00")),
        indexed(record(b'{"big": 123456789012345678901234567890}', offset=1)),
    ]
    index.append(letters, {0: 2})
    assert list(index.select()) == letters
    assert list(index.select(parse("payload.text like 'a%'")).positions()) == [(0, 0)]


@pytest.mark.parametrize("time", ["9223372036854775807", "9999999999999999999", "253402300800000", "-1"])
def test_a_time_that_no_calendar_has_breaks_no_query(tmp_path: Path, time: str) -> None:
    damaged = tuple(
        (name, time.encode() if name == "relay.last-failed-at" else value) for name, value in ours(0).headers
    )
    index = Index.of(tmp_path, "cluster", TOPIC)
    index.begin({0: (0, 2)}, "id-1")
    index.append([indexed(record(b"{}", damaged)), indexed(ours(1))], {0: 2})
    assert chosen(index, "failed_at > '2020-01-01' and failed_at < '2030-01-01'") == ["0:0", "0:1"]


@pytest.mark.parametrize("text", ["a\0b", "null", "123", "[1]", '"', "\\u0000", "你好\U0001f600", "x" * 2000])
def test_every_text_is_found_again_as_it_was(tmp_path: Path, text: str) -> None:
    index = Index.of(tmp_path, "cluster", TOPIC)
    index.begin({0: (0, 1)}, "id-1")
    letter = indexed(ours(0, payload={"text": text}))._replace(message=text, message_id=text)
    index.append([letter], {0: 1})
    assert list(index.select()) == [letter]


def test_what_is_not_committed_is_not_kept_and_a_transaction_is_bounded(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("dlq_tools.index_writer._BYTES", 100_000)
    index = Index.of(tmp_path, "cluster", TOPIC)
    index.begin({0: (0, 5)}, "id-1")
    with index.writer() as writer:
        writer.add([indexed(ours(0))])
        early = writer.full
        writer.add(
            [
                indexed(ours(1, payload={"text": "x" * 60_000})),
                indexed(ours(2, payload={"text": "y" * 60_000})),
            ]
        )
        late = writer.full
        writer.commit({0: 3})
        writer.add([indexed(ours(3))])
    assert (early, late) == (False, True)
    assert [letter.offset for letter in index.select()] == [0, 1, 2]
    assert index.begin({0: (0, 5)}, "id-1") == {0: 3}
