"""Record headers: read tolerantly, written once."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from schemas import headers as h
from schemas.headers import Headers, get, get_int, to_bytes, with_headers, without_headers

NAMES = st.sampled_from(["a", "b", "relay.target"])
HEADERS = st.lists(st.tuples(NAMES, st.none() | st.binary(max_size=6)), max_size=6).map(tuple)
ANY_TEXT = st.text(st.characters(exclude_categories=()), max_size=30)


def test_the_last_of_a_repeated_name_wins() -> None:
    repeated: Headers = (("a", b"1"), ("b", b"x"), ("a", b"2"))
    assert get(repeated, "a") == "2"
    assert get(repeated, "c") is None
    assert get((("a", b"1"), ("a", None)), "a") is None


def test_bytes_that_are_not_utf_8_are_read_all_the_same() -> None:
    assert get((("a", b"x\xffy"),), "a") == "x\ufffdy"


@pytest.mark.parametrize(
    ("value", "number"),
    [
        (b"0", 0),
        (b"1715234567123", 1715234567123),
        (b"-7", -7),
        (b"", None),
        (b"-", None),
        (b"1.5", None),
        (b" 1", None),
        (b"1_0", None),
        ("٣".encode(), None),
        (b"9" * 5000, None),
        (b"\xff", None),
        (None, None),
    ],
)
def test_only_a_plain_whole_number_is_one(value: bytes | None, number: int | None) -> None:
    assert get_int((("n", value),), "n") == number


@given(HEADERS, st.dictionaries(NAMES, ANY_TEXT, max_size=3))
def test_a_name_that_is_set_stands_once_and_all_others_stay_as_they_are(
    headers: Headers, updates: dict[str, str]
) -> None:
    result = with_headers(headers, updates)
    names = [name for name, _ in result]
    assert all(names.count(name) == 1 for name in updates)
    assert without_headers(result, updates) == without_headers(headers, updates)
    assert with_headers(result, updates) == result


@given(ANY_TEXT)
def test_any_text_becomes_one_line_of_utf_8(text: str) -> None:
    written = to_bytes(text).decode("utf-8")
    assert len(written.splitlines()) <= 1
    assert not any(ord(char) < 0x20 for char in written)
    if text.isprintable():
        assert written == text


def test_a_newline_can_not_forge_a_line() -> None:
    assert to_bytes("no\r\nrelay.target: x\u2028y\x1b[2J") == b"no  relay.target: x y [2J"


@pytest.mark.parametrize(
    ("value", "responses", "chunks"),
    [
        (b"3", 3, 3),
        (b"3,7", 3, 7),
        (b"", None, None),
        (b"x", None, None),
        (b"-1", None, None),
        (b"3,", 3, None),
        (b"9" * 30, None, None),
        ("\u0663".encode(), None, None),
    ],
)
def test_a_reply_partition_is_read_or_passed_over(
    value: bytes, responses: int | None, chunks: int | None
) -> None:
    found = ((h.REPLY_PARTITION, value),)
    assert (h.reply_partition(found), h.chunks_partition(found)) == (responses, chunks)


def test_reply_places_are_read_as_they_were_written() -> None:
    for places in ((0, 0), (3, 7)):
        found = ((h.REPLY_PARTITION, h.reply_places(*places).encode()),)
        assert (h.reply_partition(found), h.chunks_partition(found)) == places
