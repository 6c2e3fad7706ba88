from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from workers.policies.finished import DamagedMetadataError, decode, encode

OFFSETS = st.integers(0, 2**45)
KAFKA_TAKES = 4096  # bytes: a broker's `offset.metadata.max.bytes` unless told otherwise
GAPS = st.lists(st.integers(1, 300), max_size=300)


def offsets_after(base: int, gaps: list[int]) -> list[int]:
    offsets, offset = [], base
    for gap in gaps:
        offset += gap
        offsets.append(offset)
    return offsets


@given(OFFSETS, GAPS)
def test_what_fits_comes_back_as_it_was(base: int, gaps: list[int]) -> None:
    finished = offsets_after(base, gaps)
    assert decode(base, encode(base, finished)) == frozenset(finished)


@given(OFFSETS, st.lists(st.integers(1, 5000), max_size=3000), st.integers(16, 600))
def test_what_does_not_fit_keeps_the_lowest_within_the_bound(base: int, gaps: list[int], limit: int) -> None:
    finished = offsets_after(base, gaps)
    text = encode(base, finished, limit)
    assert len(text.encode()) <= limit
    kept = sorted(decode(base, text))
    assert kept == finished[: len(kept)]


def test_every_second_of_16000_offsets_fits_into_what_kafka_takes() -> None:
    finished = list(range(1, 16_000, 2))
    text = encode(0, finished)
    assert len(text) <= KAFKA_TAKES
    assert decode(0, text) == frozenset(finished)


def test_nothing_is_ever_longer_than_what_kafka_takes() -> None:
    assert len(encode(0, range(1, 200_000, 3))) <= KAFKA_TAKES


def test_a_million_offsets_in_one_run_take_a_few_bytes() -> None:
    assert len(encode(5, range(6, 1_000_000))) < 40


@given(OFFSETS, GAPS.filter(bool), st.data())
def test_a_damaged_text_is_never_believed(base: int, gaps: list[int], data: st.DataObject) -> None:
    text = encode(base, offsets_after(base, gaps))
    at = data.draw(st.integers(0, len(text) - 1))
    character = data.draw(st.characters(exclude_characters=text[at]))
    with suppress(DamagedMetadataError):  # base64 has a few bits that mean nothing
        assert decode(base, text[:at] + character + text[at + 1 :]) == decode(base, text)


@pytest.mark.parametrize(
    "foreign", ["x", "relay1:", "relay9:AAAA", "{}", "relay1:é", "relay1:AAAAAAAA", "\x00" * 9]
)
def test_foreign_metadata_is_refused(foreign: str) -> None:
    with pytest.raises(DamagedMetadataError):
        decode(7, foreign)


@given(st.text(max_size=60))
def test_no_text_breaks_the_reader(text: str) -> None:
    with suppress(DamagedMetadataError):
        decode(0, text)


def test_metadata_of_another_offset_is_refused() -> None:
    with pytest.raises(DamagedMetadataError):
        decode(11, encode(10, [12, 13]))


def test_no_metadata_means_nothing_is_finished() -> None:
    assert encode(3, []) == ""
    assert decode(3, "") == frozenset()
