"""Headers of dead letters: written by the rules, read whoever wrote them."""

import dataclasses
import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from schemas import headers as h
from schemas.dead_letter import DeadLetter, Failure, dead_letter_headers, fingerprint, read_dead_letter
from schemas.errors import ErrorClass, Stage
from schemas.failure import MAX_MESSAGE_BYTES
from schemas.headers import Headers, get, with_headers

FAILURE = Failure(
    ErrorClass.TIMEOUT,
    Stage.CALL,
    "no answer within 30 s",
    failed_at_ms=1_715_234_567_123,
    topic="model_requests.llm",
    partition=3,
    offset=42,
    group="relayfleet.llm",
    status=504,
    message_id="req_1",
    source="web",
    target="llm",
    instance="127.0.0.1:8091",
    rule="default",
    attempt=5,
    deferrals=1,
)
PRODUCERS: Headers = (("traceparent", b"00-1"), ("tag", b"\xff"), ("tag", None))
OURS = [value for name, value in vars(h).items() if name.isupper() and isinstance(value, str)]
ANY_TEXT = st.text(st.characters(exclude_categories=()), max_size=40)
LONG = st.builds(lambda text, times: text * times, ANY_TEXT, st.sampled_from([1, 50, 3000]))
TOPIC = st.from_regex(r"[a-zA-Z0-9._-]{1,249}", fullmatch=True)
FAILURES = st.builds(
    Failure,
    error_class=st.sampled_from(ErrorClass),
    stage=st.sampled_from(Stage),
    reason=LONG,
    failed_at_ms=st.integers(0, 2**63 - 1),
    topic=TOPIC,
    partition=st.integers(0, 2**31 - 1),
    offset=st.integers(0, 2**63 - 1),
    group=LONG,
    status=st.none() | st.integers(0, 999),
    message_id=st.none() | LONG,
    source=st.none() | LONG,
    target=st.none() | LONG,
    instance=st.none() | LONG,
    rule=st.none() | LONG,
    attempt=st.none() | st.integers(0, 100),
    deferrals=st.none() | st.integers(0, 100),
)
RECEIVED = st.lists(
    st.tuples(st.sampled_from([*OURS, "tag", "other"]), st.none() | st.binary(max_size=12)), max_size=8
).map(tuple)


def letter(headers: Headers) -> DeadLetter:
    """A dead letter with these headers."""
    return read_dead_letter("dlq.model_requests", 1, 7, b"key", b"\xff", headers, 1_715_234_567_999)


def test_what_is_written_is_what_is_read() -> None:
    read = letter(dead_letter_headers(PRODUCERS, FAILURE))
    assert read.position == "dlq.model_requests:1:7"
    assert read.failed == read.origin
    assert read.failed is not None
    assert read.failed.model_dump() == {"topic": "model_requests.llm", "partition": 3, "offset": 42}
    assert (read.error_class, read.stage, read.status) == (ErrorClass.TIMEOUT, Stage.CALL, 504)
    assert (read.message, read.group, read.delivery_count) == ("no answer within 30 s", "relayfleet.llm", 5)
    assert (read.message_id, read.source, read.target) == ("req_1", "web", "llm")
    assert (read.instance, read.rule, read.attempt, read.deferrals) == ("127.0.0.1:8091", "default", 5, 1)
    assert read.first_failed_at_ms == read.last_failed_at_ms == 1_715_234_567_123
    assert read.fingerprint == fingerprint(ErrorClass.TIMEOUT, Stage.CALL, 504, "no answer within 30 s")
    assert (read.key, read.value, read.headers[:3]) == (b"key", b"\xff", PRODUCERS)


@given(RECEIVED, FAILURES)
def test_producers_headers_stay_exactly_and_ours_stand_once_within_the_budget(
    received: Headers, failure: Failure
) -> None:
    result = dead_letter_headers(received, failure)
    theirs = [header for header in received if header[0] not in OURS]
    assert [header for header in result if header[0] not in OURS] == theirs
    added = [header for header in result if header not in received]
    assert sum(len(name) + len(value or b"") for name, value in added) <= 8192
    names = [name for name, _ in added]
    assert len(set(names)) == len(names)
    for _, value in added:
        assert value is not None
        assert len(value.decode("utf-8").splitlines()) <= 1
    letter(result).model_dump_json()


@given(RECEIVED, FAILURES)
def test_a_second_failure_replaces_the_first_but_keeps_where_and_when_it_began(
    received: Headers, failure: Failure
) -> None:
    once = dead_letter_headers(received, failure)
    again = dataclasses.replace(FAILURE, status=None, offset=99, failed_at_ms=2_000_000_000_000)
    twice = letter(dead_letter_headers(once, again))
    assert twice.origin == letter(once).origin
    assert twice.first_failed_at_ms == letter(once).first_failed_at_ms
    assert twice.last_failed_at_ms == 2_000_000_000_000
    assert (twice.status, twice.message) == (None, FAILURE.reason)
    assert twice.failed is not None
    assert twice.failed.offset == 99


def test_what_is_not_known_now_keeps_what_was_known_before() -> None:
    received = with_headers(PRODUCERS, {h.TARGET: "orders", h.ROUTE: "r", h.REPLAY_COUNT: "2"})
    unknown = dataclasses.replace(FAILURE, target=None, rule=None)
    read = letter(dead_letter_headers(received, unknown))
    assert (read.target, read.rule, read.replay_count) == ("orders", "r", 2)


def test_a_damaged_origin_is_written_anew_as_a_whole() -> None:
    received: Headers = (
        (h.ORIGIN_TOPIC, b"model_requests"),
        (h.ORIGIN_PARTITION, b"\xff"),
        (h.ORIGIN_OFFSET, b"1"),
    )
    assert (
        letter(dead_letter_headers(received, FAILURE)).origin
        == letter(dead_letter_headers((), FAILURE)).origin
    )


def test_a_long_reason_is_cut_and_says_so() -> None:
    failure = dataclasses.replace(FAILURE, reason="错误\n" * 5000)
    message = get(dead_letter_headers((), failure), h.DLQ_MESSAGE)
    assert message is not None
    assert message.endswith("…")
    assert MAX_MESSAGE_BYTES - 4 <= len(message.encode()) <= MAX_MESSAGE_BYTES


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("no answer within 30 s", "no answer within 45.5 s"),
        ("json: not JSON (at byte 3)", "json: not JSON (at byte 77)"),
        ('unknown model "a"', 'Unknown  model "b c"'),
        (
            "request 123e4567-e89b-12d3-a456-426614174000 failed",
            "request 00000000-e89b-12d3-a456-426614174001 failed",
        ),
        ("trace 4bf92f3577b34da6 lost", "trace 00f067aa0ba902b7 lost"),
    ],
)
def test_like_errors_have_one_fingerprint(one: str, other: str) -> None:
    assert fingerprint(ErrorClass.TIMEOUT, Stage.CALL, None, one) == fingerprint(
        ErrorClass.TIMEOUT, Stage.CALL, None, other
    )


def test_fingerprints_tell_class_stage_status_and_words_apart() -> None:
    kinds: list[tuple[Any, ...]] = [
        (ErrorClass.TIMEOUT, Stage.CALL, None, "x"),
        (ErrorClass.CONNECT, Stage.CALL, None, "x"),
        (ErrorClass.TIMEOUT, Stage.ROUTE, None, "x"),
        (ErrorClass.TIMEOUT, Stage.CALL, 504, "x"),
        (ErrorClass.TIMEOUT, Stage.CALL, None, "y"),
    ]
    assert len({fingerprint(*kind) for kind in kinds}) == len(kinds)


def test_a_fingerprint_is_the_same_in_every_process_and_release() -> None:
    assert fingerprint(ErrorClass.TIMEOUT, Stage.CALL, 504, "no answer within 30 s") == "89ec8b73c8cce854"


@given(RECEIVED)
def test_missing_and_damaged_headers_are_none(received: Headers) -> None:
    json.loads(letter(received).model_dump_json())


def test_a_record_without_headers_is_a_dead_letter_of_unknown_cause() -> None:
    read = letter(())
    assert (read.failed, read.origin, read.error_class, read.fingerprint, read.message) == (None,) * 5
    assert read.replay_count == 0


def place(topic: str, partition: int, offset: int) -> dict[str, Any]:
    """A place as it is dumped."""
    return {"topic": topic, "partition": partition, "offset": offset}


@pytest.mark.parametrize(
    ("headers", "exception"),
    [
        (
            (
                ("__connect.errors.topic", b"t"),
                ("__connect.errors.partition", b"3"),
                ("__connect.errors.offset", b"77"),
                ("__connect.errors.exception.class.name", b"org.X"),
                ("__connect.errors.exception.message", b"boom"),
            ),
            "org.X",
        ),
        (
            (
                ("__streams.errors.topic", b"t"),
                ("__streams.errors.partition", b"3"),
                ("__streams.errors.offset", b"77"),
                ("__streams.errors.exception", b"org.X"),
                ("__streams.errors.message", b"boom"),
            ),
            "org.X",
        ),
        (
            (
                ("kafka_dlt-original-topic", b"t"),
                ("kafka_dlt-original-partition", (3).to_bytes(4, "big")),
                ("kafka_dlt-original-offset", (77).to_bytes(8, "big")),
                ("kafka_dlt-exception-fqcn", b"org.springframework.Wrapper"),
                ("kafka_dlt-exception-cause-fqcn", b"org.X"),
                ("kafka_dlt-exception-message", b"boom"),
            ),
            "org.X",
        ),
        (
            (
                ("__dlq.errors.topic", b"t"),
                ("__dlq.errors.partition", b"3"),
                ("__dlq.errors.offset", b"77"),
                ("__dlq.errors.message", b"boom"),
            ),
            None,
        ),
    ],
)
def test_dead_letters_of_other_systems_are_understood(headers: Headers, exception: str | None) -> None:
    read = letter(headers)
    assert read.failed is not None
    assert read.failed.model_dump() == place("t", 3, 77)
    assert (read.message, read.exception) == ("boom", exception)
    assert read.fingerprint is not None


def test_binary_numbers_of_the_wrong_length_are_none() -> None:
    read = letter((("kafka_dlt-original-topic", b"t"), ("kafka_dlt-original-offset", b"77")))
    assert read.failed is not None
    assert read.failed.offset is None
