"""The whole chain, seen by a plain Kafka client: every record that goes in comes out as one outcome."""

from collections.abc import Callable, Sequence
from typing import Any

import orjson
import pytest
from confluent_kafka import Message

from tests.fleet import Fleet
from tests.support import produce, reading
from workers.core.deadlines import Deadline

pytestmark = pytest.mark.asyncio(loop_scope="module")

EXAMPLE = (
    '{"message_id":"req_12345","source":"web","payload":{"text":"推荐一款5000元以内的笔记本电脑",'
    '"context":{"user_history":["之前咨询过显示器"]}},"timestamp":1715234567}'
).encode()


def _envelope(message_id: str, **payload: Any) -> bytes:
    return orjson.dumps(
        {"message_id": message_id, "source": "test", "payload": payload, "timestamp": 1715234567}
    )


def _responses(fleet: Fleet, *ids: str) -> dict[str, dict[str, Any]]:
    """The responses of these ids, once all are there."""
    values = _until(fleet.bootstrap, fleet.names["responses"], ids, lambda record: record.value() or b"")
    return {message_id: orjson.loads(value) for message_id, value in values.items()}


def _dead(fleet: Fleet, *ids: str) -> dict[str, dict[str, str]]:
    """The headers of the dead letters of these ids, once all are there."""
    return _until(fleet.bootstrap, fleet.names["dead_letters"], ids, _headers)


def _letters(fleet: Fleet, key: bytes, count: int) -> list[Message]:
    """So many dead letters of this key, whatever other tests left on the topic."""
    consumer = reading(fleet.bootstrap, fleet.names["dead_letters"])
    found: list[Message] = []
    deadline = Deadline.after(60)
    try:
        while len(found) < count:
            assert not deadline.expired, f"{len(found)} of {count} dead letters of {key!r} came"
            found += [record for record in consumer.consume(500, timeout=0.2) if record.key() == key]
    finally:
        consumer.close()
    return found


def _until(bootstrap: str, topic: str, ids: Sequence[str], take: Callable[[Message], Any]) -> dict[str, Any]:
    consumer = reading(bootstrap, topic)
    found: dict[str, Any] = {}
    deadline = Deadline.after(60)
    try:
        while not found.keys() >= set(ids):
            assert not deadline.expired, f"of {ids} only {sorted(found)} came from {topic}"
            for record in consumer.consume(500, timeout=0.2):
                found[_message_id(record)] = take(record)
    finally:
        consumer.close()
    return found


def _message_id(record: Message) -> str:
    known = _headers(record).get("relay.message-id")
    return known or str((orjson.loads(record.value() or b"{}") or {}).get("message_id"))


def _headers(record: Message) -> dict[str, str]:
    pairs = record.headers() or []
    assert isinstance(pairs, list)
    return {name: value.decode() if isinstance(value, bytes) else str(value) for name, value in pairs}


async def test_a_plain_client_gets_the_answer_of_its_question(fleet: Fleet) -> None:
    requests = fleet.names["requests"]
    produce(fleet.bootstrap, requests, [EXAMPLE])
    produce(fleet.bootstrap, requests, [_envelope("o-1", text="我的订单 20240501 到哪了")], key=b"customer-7")
    responses = _responses(fleet, "req_12345", "o-1")

    answer = responses["req_12345"]
    assert answer["status"] == "ok"
    assert answer["source"] == "llm"
    assert answer["payload"]["text"]
    assert answer["payload"]["usage"]["total_tokens"] > 0
    assert answer["route"]["rule"] == "default"
    assert answer["route"]["attempts"] == 1
    assert set(answer["timing"]) == {"queued", "routed", "model", "total"}

    order = responses["o-1"]
    assert order["payload"]["text"] == "Order 20240501: 运输中, expected 2026-12-01"
    assert order["route"]["target"] == "orders"


async def test_bad_input_ends_in_dead_letters_byte_for_byte_and_harms_nobody(fleet: Fleet) -> None:
    requests = fleet.names["requests"]
    bad: list[bytes | None] = [
        b"not json",
        b'{"message_id": "half',
        b"\xff\xfe\xfd",
        None,
        b"",
        b"[]",
        b'{"message_id": "no-payload", "source": "web", "timestamp": 1}',
        b'{"message_id": "bad-time", "source": "web", "payload": {"text": "x"}, "timestamp": "tomorrow"}',
        b"\x00\x00\x00\xff\xffavro of nobody",
        b"[" * 100_000,
    ]
    produce(fleet.bootstrap, requests, bad, key=b"one-partition")
    produce(fleet.bootstrap, requests, [_envelope("after", text="hello")], key=b"one-partition")

    dead = _letters(fleet, b"one-partition", len(bad))
    assert sorted(record.value() or b"" for record in dead) == sorted(value or b"" for value in bad)
    for record in dead:
        headers = _headers(record)
        assert headers["relay.error.class"] == "schema"
        assert headers["relay.error.stage"] == "decode"
        assert headers["__dlq.errors.topic"] == requests
        assert headers["__dlq.errors.message"]
    responses = _responses(fleet, "after", "no-payload")
    assert responses["after"]["status"] == "ok"
    assert responses["no-payload"]["payload"]["error"]["code"] == "schema"
    assert "payload" in responses["no-payload"]["payload"]["error"]["reason"]


async def test_a_header_with_a_newline_travels_and_breaks_nothing(fleet: Fleet) -> None:
    headers = [("x-note", b"line one\nline two"), ("x-bytes", b"\x00\xff")]
    produce(fleet.bootstrap, fleet.names["requests"], [_envelope("h-1", text="hello")], headers=headers)
    assert _responses(fleet, "h-1")["h-1"]["status"] == "ok"


async def test_a_text_that_no_topic_takes_is_refused_to_the_producer_and_a_large_one_is_answered(
    fleet: Fleet,
) -> None:
    with pytest.raises(AssertionError, match="too large"):
        produce(fleet.bootstrap, fleet.names["requests"], [_envelope("huge", text="x" * 5_000_000)])
    produce(fleet.bootstrap, fleet.names["requests"], [_envelope("large", text="x" * 900_000)])
    assert _responses(fleet, "large")["large"]["status"] == "ok"


async def test_an_answer_too_large_for_its_topic_becomes_an_error_that_says_so(fleet: Fleet) -> None:
    fleet.misbehave(answer_bytes=2_000_000)
    produce(fleet.bootstrap, fleet.names["requests"], [_envelope("big", text="hello")])
    error = _responses(fleet, "big")["big"]["payload"]["error"]
    assert error["code"] == "too_large"


async def test_every_fault_of_a_model_ends_in_an_error_that_names_its_class(fleet: Fleet) -> None:
    faults: dict[str, dict[str, object]] = {
        "upstream_5xx": {"error_rate": 1, "error_status": 500},
        "connect": {"reset_rate": 1},
        "timeout": {"hang_rate": 1},
        "auth": {"error_rate": 1, "error_status": 401},
        "upstream_4xx": {"error_rate": 1, "error_status": 422},
        "context_length": {"error_rate": 1, "error_status": 400, "error_code": "context_length_exceeded"},
        "content_filter": {"error_rate": 1, "error_status": 400, "error_code": "content_filter"},
    }
    for error_class, fault in faults.items():
        fleet.misbehave(**fault)
        # What hangs is all that may be short of time: the others fail by what they are told, however long that takes.
        target = b"hasty" if error_class == "timeout" else b"llm"
        asked = [_envelope(error_class, text="hello")]
        produce(fleet.bootstrap, fleet.names["requests"], asked, headers=[("relay.target", target)])
        response = _responses(fleet, error_class)[error_class]
        assert response["status"] == "error"
        assert response["payload"]["error"]["code"] == error_class
        assert response["payload"]["error"]["reason"]
    fleet.misbehave(half_json_rate=1)
    produce(fleet.bootstrap, fleet.names["requests"], [_envelope("half", text="hello")])
    assert _responses(fleet, "half")["half"]["payload"]["error"]["code"] == "upstream_5xx"

    dead = _dead(fleet, *faults)
    assert {message_id: dead[message_id]["relay.error.class"] for message_id in faults} == {
        name: name for name in faults
    }
    assert all("hello" not in str(headers) for headers in dead.values())


async def test_a_missing_database_is_said_with_its_file(fleet: Fleet, orders: Any) -> None:
    orders.unlink()
    produce(fleet.bootstrap, fleet.names["requests"], [_envelope("o-2", text="订单 20240501")])
    error = _responses(fleet, "o-2")["o-2"]["payload"]["error"]
    assert error["code"] == "connect"
    assert "orders.db" in error["reason"]


async def test_every_message_can_be_traced_in_the_log_topic(fleet: Fleet) -> None:
    produce(fleet.bootstrap, fleet.names["requests"], [_envelope("t-1", text="secret words")])
    logs = fleet.names["requests"].removesuffix(".requests") + ".logs"
    consumer = reading(fleet.bootstrap, logs)
    events: list[dict[str, Any]] = []
    deadline = Deadline.after(60)
    while len(events) < 4 and not deadline.expired:
        values = [record.value() or b"" for record in consumer.consume(100, timeout=0.2)]
        assert all(b"secret words" not in value for value in values)
        events += [event for value in values if (event := orjson.loads(value))["message_id"] == "t-1"]
    consumer.close()
    steps = [event["event"] for event in sorted(events, key=lambda event: event["timestamp"])]
    assert steps == ["received", "routed", "attempted", "answered"]
