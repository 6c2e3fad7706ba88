"""Durations, sizes and the other scalars."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import TypeAdapter, ValidationError

from workers.core.topology.values import (
    MAX_SECONDS,
    Bytes,
    Seconds,
    format_duration,
    parse_duration,
    parse_size,
)

SECONDS: TypeAdapter[float] = TypeAdapter(Seconds)
BYTES: TypeAdapter[int] = TypeAdapter(Bytes)


@given(st.integers(0, round(MAX_SECONDS * 1000)))
def test_a_duration_reads_back_as_it_was_written(milliseconds: int) -> None:
    assert parse_duration(format_duration(milliseconds / 1000)) == milliseconds / 1000


@given(st.integers(0, 10**6), st.sampled_from(["ms", "s", "m", "h", "d", "w"]), st.sampled_from(["", " "]))
def test_a_number_and_a_unit_is_that_many_of_the_unit(number: int, unit: str, blank: str) -> None:
    one = {"ms": 0.001, "s": 1, "m": 60, "h": 3600, "d": 86_400, "w": 604_800}[unit]

    assert parse_duration(f" {number}{blank}{unit.upper()} ") == pytest.approx(number * one)


@given(st.text(max_size=20) | st.floats() | st.integers() | st.booleans() | st.none() | st.binary(max_size=5))
def test_nothing_reads_as_a_duration_that_time_cannot_hold(value: object) -> None:
    try:
        seconds = SECONDS.validate_python(value)
    except ValidationError:
        return
    assert seconds <= MAX_SECONDS


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("250ms", 0.25), ("1.5h", 5400.0), ("7d", 604_800.0), ("30", 30.0), (2, 2.0), (0.5, 0.5)],
)
def test_durations_as_people_write_them(text: object, seconds: float) -> None:
    assert SECONDS.validate_python(text) == seconds


@pytest.mark.parametrize(
    "text", ["", "s", "5 parsecs", "1h30m", "-5s", "1e3s", "٣s", True, [], "9" * 30 + "w", "11000d"]
)
def test_what_is_no_duration_is_refused(text: object) -> None:
    with pytest.raises(ValidationError):
        SECONDS.validate_python(text)


@pytest.mark.parametrize(
    ("text", "size"),
    [("900kB", 900_000), ("1MiB", 1_048_576), ("0.5 MB", 500_000), ("17", 17), ("17b", 17), (17, 17)],
)
def test_sizes_as_people_write_them(text: object, size: int) -> None:
    assert BYTES.validate_python(text) == size


@pytest.mark.parametrize("text", ["", "1 XB", "-1kB", "1e9", True, "9" * 400, "2.2GB"])
def test_what_is_no_size_is_refused(text: object) -> None:
    with pytest.raises(ValidationError):
        BYTES.validate_python(text)


@given(st.integers(0, 10**6), st.sampled_from(["", "k", "kB", "MB", "KiB", "mib"]))
def test_a_size_is_that_many_of_its_unit(number: int, unit: str) -> None:
    one = {"": 1, "k": 1000, "kb": 1000, "mb": 10**6, "kib": 1024, "mib": 1024**2}[unit.lower()]

    assert parse_size(f"{number}{unit}") == number * one
