"""What the commands print: groups, counts, causes, masked values, times, files."""

import re
from pathlib import Path
from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dlq_tools.causes import likely_cause
from dlq_tools.columns import iso
from dlq_tools.group import groups
from dlq_tools.index import Index
from dlq_tools.listing import is_dead_letters, look
from dlq_tools.reading import indexed
from dlq_tools.show import letter, masked, parse_position
from dlq_tools.stats import counts, parse_dimensions
from dlq_tools.times import age, parse_time
from dlq_tools.where import parse
from schemas.errors import ErrorClass
from tests.unit.dlq.letters import CONNECT, NOON_MS, SPRING, TOPIC, ours, record
from workers.core.errors import UsageError
from workers.core.ports import TopicState
from workers.core.records import Outgoing, TopicPartition
from workers.kafka.memory import MemoryBroker

MINUTE = 60_000


@pytest.fixture
def index(tmp_path: Path) -> Index:
    """Five time-outs over two hours for two targets, two content filters, one of Connect."""
    index = Index.of(tmp_path, "cluster", TOPIC)
    index.begin({0: (0, 8)}, "id")
    records = [
        *(
            ours(n, failed_at_ms=NOON_MS + n * 30 * MINUTE, reason=f"no answer within {n} s")
            for n in range(4)
        ),
        ours(4, target="llm_small", failed_at_ms=NOON_MS, reason="no answer within 9 s"),
        *(ours(n, ErrorClass.CONTENT_FILTER, reason="refused") for n in (5, 6)),
        record(b"{}", CONNECT, offset=7),
    ]
    index.append([indexed(each) for each in records], {0: 8})
    return index


def test_like_errors_are_one_group_with_the_latest_as_its_example(index: Index) -> None:
    first, second, third = groups(index)
    assert (first.count, first.error_class, first.stage) == (5, "timeout", "call")
    assert (first.first_ms, first.last_ms) == (NOON_MS, NOON_MS + 90 * MINUTE)
    assert first.example == "dlq.model_requests:0:3"
    assert first.message == "no answer within 3 s"
    assert list(first.targets) == ["llm", "llm_small"]
    assert "timeout too short" in first.cause
    assert (second.count, second.error_class) == (2, "content_filter")
    assert (third.family, third.exception) == ("connect", "org.apache.kafka.connect.errors.DataException")
    assert "a producer or a schema" in third.cause


def test_groups_are_of_what_was_chosen_and_no_more_than_asked_for(index: Index) -> None:
    (only,) = groups(index, parse("target = 'llm'"), NOON_MS + 45 * MINUTE)
    assert only.count == 2
    assert len(groups(index, limit=1)) == 1


def test_letters_are_counted_by_what_was_asked_for(index: Index) -> None:
    assert counts(index, ["class", "target"]) == [
        {"class": "timeout", "target": "llm", "count": 4},
        {"class": "content_filter", "target": "llm", "count": 2},
        {"class": "DataException", "target": None, "count": 1},
        {"class": "timeout", "target": "llm_small", "count": 1},
    ]
    assert counts(index, ["hour"], parse("class = 'timeout'")) == [
        {"hour": "2026-01-01T12:00Z", "count": 3},
        {"hour": "2026-01-01T13:00Z", "count": 2},
    ]


def test_what_can_be_counted_by_is_told() -> None:
    assert parse_dimensions("class, target,class") == ["class", "target"]
    for text in ("", "nope", "class,count(*)"):
        with pytest.raises(UsageError, match="class, stage"):
            parse_dimensions(text)


@pytest.mark.parametrize("error_class", ErrorClass)
def test_every_class_of_ours_has_a_cause(error_class: ErrorClass) -> None:
    assert len(likely_cause(error_class.value, None, None)) > 20


@pytest.mark.parametrize(
    ("error_class", "message", "said"),
    [
        ("RecordTooLargeException", None, "larger than"),
        ("SaslAuthenticationException", None, "credentials"),
        (None, "Read timed out", "in time"),
        (None, "connection refused", "reached"),
        ("NullPointerException", None, "did not expect"),
        (None, None, "no reason is given"),
        ("WeirdException", "x", "see the message"),
    ],
)
def test_causes_of_other_systems_are_guessed_from_their_words(
    error_class: str | None, message: str | None, said: str
) -> None:
    assert said in likely_cause(error_class, None, message)


def test_a_value_is_shown_by_its_shape_alone() -> None:
    shown = letter(
        ours(1, payload={"text": "秘密", "n": 5, "on": True, "list": ["a"], "none": None}), reveal=False
    )
    assert shown["value"] == {
        "message_id": "req_1",
        "source": "web",
        "timestamp": 1_767_268_799,
        "payload": {
            "text": "‹2 characters›",
            "n": "‹number›",
            "on": True,
            "list": ["‹1 characters›"],
            "none": None,
        },
    }
    assert shown["key"] == "‹6 characters›"
    assert shown["class"] == "timeout"
    assert shown["headers"]["tenant"] == "acme"


@pytest.mark.parametrize(
    ("value", "hidden", "revealed"),
    [
        (b"plain text", "‹10 characters›", "plain text"),
        (b"\xff\x00", "‹2 bytes›", "0xff00"),
        (b'["secret"]', ["‹6 characters›"], ["secret"]),
        (None, None, None),
    ],
)
def test_what_is_no_envelope_is_masked_too(value: bytes | None, hidden: object, revealed: object) -> None:
    assert letter(record(value, SPRING), reveal=False)["value"] == hidden
    assert letter(record(value, SPRING), reveal=True)["value"] == revealed


@given(
    st.recursive(
        st.text(alphabet="SECRT", min_size=6) | st.integers(min_value=10**6),
        lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from("ab"), inner, max_size=2),
    )
)
def test_no_text_and_no_number_gets_through_the_mask(data: Any) -> None:
    shown = orjson.dumps(masked({"payload": data})).decode()
    assert not {"S", "E", "C", "R", "T"} & set(shown)
    assert re.search(r"\d{6}", shown) is None


def test_nested_fields_are_no_envelopes() -> None:
    assert masked({"payload": {"message_id": "x"}}) == {"payload": {"message_id": "‹1 characters›"}}
    assert masked({"source": {"name": "x"}}) == {"source": {"name": "‹1 characters›"}}


def test_a_position_is_read() -> None:
    assert parse_position("dlq.a-b_c:3:42") == (TopicPartition("dlq.a-b_c", 3), 42)
    for text in ("", "a", "a:1", ":1:2", "a:b:1", "a:1:-2", "a:1:2:3", "a:1:" + "9" * 30):
        with pytest.raises(UsageError, match="TOPIC:PARTITION:OFFSET"):
            parse_position(text)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("90s", NOON_MS - 90_000),
        ("30m", NOON_MS - 30 * MINUTE),
        ("2h", NOON_MS - 120 * MINUTE),
        ("7d", NOON_MS - 7 * 1440 * MINUTE),
        ("2026-01-01T12:00Z", NOON_MS),
        ("2026-01-01T12:00", NOON_MS),
        ("2026-01-01 13:00+01:00", NOON_MS),
        ("2026-01-01", NOON_MS - 720 * MINUTE),
    ],
)
def test_times_are_read(text: str, expected: int) -> None:
    assert parse_time(text, NOON_MS, "--since") == expected


@pytest.mark.parametrize("text", ["", "yesterday", "2 fortnights", "-3h", "2026-13-01"])
def test_what_is_no_time_says_what_one_is(text: str) -> None:
    with pytest.raises(UsageError, match=r"--until .* is no time: give 30m"):
        parse_time(text, NOON_MS, "--until")


def test_times_are_told() -> None:
    assert iso(NOON_MS) == "2026-01-01T12:00:00.000Z"
    assert iso(10**18) is None
    assert iso(None) is None
    assert [age(ms) for ms in (5_000, 150_000, 7_300_000, 200_000_000, -1)] == [
        "5 s",
        "2 min",
        "2 h",
        "2 d",
        "0 s",
    ]


async def test_topics_are_looked_at_without_reading_them() -> None:
    broker = MemoryBroker(partitions=2)
    for name in (TOPIC, "payments.DLT", "model_requests", "own"):
        broker.create(TopicState(name, 2, 1, {}))
    now = NOON_MS + 3 * 60 * MINUTE
    for minutes, partition in ((0, 0), (150, 0), (170, 1)):
        broker.append(Outgoing(TOPIC, None, b"x", (), partition, NOON_MS + minutes * MINUTE))
    found = {each.topic: each.public(now) for each in await look(broker.admin(), [], "own", now)}
    assert found.keys() == {TOPIC, "payments.DLT", "own"}
    assert found[TOPIC] == {
        "topic": TOPIC,
        "partitions": 2,
        "depth": 3,
        "oldest": "2026-01-01T12:00:00.000Z",
        "newest": "2026-01-01T14:50:00.000Z",
        "oldest_age": "3 h",
        "rate_per_hour": 2,
        "new": 3,
        "on_record": {},
    }
    assert (found["own"]["depth"], found["own"]["oldest"]) == (0, None)
    assert [each.topic for each in await look(broker.admin(), ["model_requests"], "own", now)] == [
        "model_requests"
    ]
    with pytest.raises(UsageError, match=r"no topic 'dlq\.nope'"):
        await look(broker.admin(), ["dlq.nope"], "own", now)


def test_dead_letter_topics_are_known_by_their_names() -> None:
    assert all(map(is_dead_letters, ("dlq.a", "dlq-a", "a.DLT", "a-dlt", "a.dlq", "a-dlq")))
    assert not any(map(is_dead_letters, ("a", "adlq", "dlqa", "a.DLTs")))
