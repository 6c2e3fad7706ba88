"""Records of any system as rows of the index."""

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dlq_tools.reading import MAX_INDEXED_BYTES, Family, content, header_value, indexed
from schemas.codec import decode_request, encode_request
from schemas.formats import WireFormat
from tests.unit.dlq.letters import CONNECT, NOON_MS, SHARE, SPRING, STREAMS, ours, record
from workers.core.records import Headers


def test_a_letter_of_ours_is_read_in_full() -> None:
    letter = indexed(ours(3))
    assert letter.position == "dlq.model_requests:0:3"
    assert (letter.message_id, letter.source, letter.target) == ("req_3", "web", "llm")
    assert (letter.error_class, letter.stage, letter.attempts) == ("timeout", "call", 5)
    assert letter.failed_at_ms == letter.first_failed_at_ms == NOON_MS + 180_000
    assert (letter.origin_topic, letter.origin_partition, letter.origin_offset) == (
        "model_requests.llm",
        1,
        103,
    )
    assert (letter.family, letter.format, letter.key) == ("relayfleet", "json", "user-3")
    assert orjson.loads(letter.headers) == {"traceparent": "00-ab-cd-01", "tenant": "acme"}
    assert letter.value is not None
    assert orjson.loads(letter.value)["payload"] == {"text": "laptop 3"}


@pytest.mark.parametrize(
    ("headers", "family", "error_class", "failed", "attempts"),
    [
        (CONNECT, Family.CONNECT, "DataException", ("orders", 2, 9), None),
        (STREAMS, Family.STREAMS, "SerializationException", ("clicks", 1, 5), None),
        (SPRING, Family.SPRING, "NullPointerException", ("payments", 2, 77), 4),
        (SHARE, Family.SHARE, None, ("jobs", 1, 5), 5),
        ((), Family.UNKNOWN, None, (None, None, None), None),
    ],
)
def test_letters_of_other_systems_are_read_into_the_same_fields(
    headers: Headers,
    family: Family,
    error_class: str | None,
    failed: tuple[object, ...],
    attempts: int | None,
) -> None:
    letter = indexed(record(b'{"id": 7}', headers))
    assert letter.family == family
    assert letter.error_class == error_class
    assert (letter.failed_topic, letter.failed_partition, letter.failed_offset) == failed
    assert (letter.origin_topic, letter.origin_partition, letter.origin_offset) == failed
    assert letter.attempts == attempts
    assert letter.failed_at_ms == NOON_MS
    assert (letter.fingerprint is None) == (family is Family.UNKNOWN)


def test_the_stage_of_connect_is_kept_and_its_stack_trace_is_not() -> None:
    letter = indexed(record(b"{}", CONNECT))
    assert letter.stage == "value_converter"
    assert orjson.loads(letter.headers)["__connect.errors.connector.name"] == "warehouse"
    assert "stacktrace" not in letter.headers


@pytest.mark.parametrize(
    ("value", "form", "data"),
    [
        (b'{"a": 1}', "json", {"a": 1}),
        (b"[1, 2]", "json", [1, 2]),
        (b"3", "json", 3),
        ("déjà vu".encode(), "text", "déjà vu"),
        (b"two\nlines", "text", "two\nlines"),
        (b"", "text", ""),
        (b"\xff\x00\x01", "binary", None),
        (b"\x00\x00\x00\x03\xe8rest", "binary", None),
        (None, "null", None),
    ],
)
def test_every_value_is_told_by_what_its_bytes_allow(value: bytes | None, form: str, data: object) -> None:
    assert content(value, ()) == (form, data)


def test_avro_is_read_as_the_envelope_that_it_holds() -> None:
    request = decode_request(ours(1).value).request
    encoded = encode_request(request, WireFormat.AVRO_REGISTRY)
    found = content(encoded.value, tuple((name, text.encode()) for name, text in encoded.headers.items()))
    assert found.format == "avro"
    assert found.data["payload"]["text"] == "laptop 1"


def test_a_value_too_large_for_the_index_is_left_in_kafka() -> None:
    kept = indexed(record(orjson.dumps("x" * (MAX_INDEXED_BYTES - 2))))
    left = indexed(record(orjson.dumps("x" * MAX_INDEXED_BYTES)))
    assert kept.value is not None
    assert (left.value, left.format, left.size) == (None, "json", MAX_INDEXED_BYTES + 2)


@pytest.mark.parametrize(
    ("name", "value", "shown"),
    [
        ("kafka_dlt-original-partition", b"\x00\x00\x00\x02", "2"),
        ("kafka_dlt-original-offset", b"\xff" * 8, "-1"),
        ("authorization", b"Bearer abcdefghij", "***"),
        ("x-note", b"the key is sk-abcdefgh12345", "the key is ***"),
        ("x-bytes", b"\xff\xfe", "0xfffe"),
        ("x-none", None, None),
    ],
)
def test_headers_are_shown_readable_and_without_secrets(
    name: str, value: bytes | None, shown: str | None
) -> None:
    assert header_value(name, value) == shown


def test_a_secret_in_the_message_of_another_system_is_masked() -> None:
    headers = (("__connect.errors.exception.message", b"login failed: password=hunter2"),)
    assert indexed(record(b"{}", headers)).message == "login failed: password=***"


@given(
    value=st.none() | st.binary(max_size=60),
    key=st.none() | st.binary(max_size=20),
    names=st.lists(
        st.tuples(
            st.sampled_from([name for name, _ in (*CONNECT, *STREAMS, *SPRING, *SHARE, *ours().headers)]),
            st.none() | st.binary(max_size=20),
        ),
        max_size=8,
    ),
)
def test_no_record_can_break_the_reader(
    value: bytes | None, key: bytes | None, names: list[tuple[str, bytes | None]]
) -> None:
    letter = indexed(record(value, tuple(names), key=key))
    orjson.dumps(letter.public())
    orjson.loads(letter.headers)
