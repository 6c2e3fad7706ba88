"""Every record has exactly one outcome, and the caller always learns."""

from collections.abc import Sequence

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st
from structlog.testing import capture_logs

from schemas import headers as h
from schemas.codec import decode_response
from schemas.envelope import Payload, Request
from schemas.errors import ErrorClass
from tests.unit.router.support import envelope, received, topology
from workers.core.clock import ManualClock
from workers.core.records import Outgoing
from workers.policies.guess import Guess
from workers.policies.route import Decision, Router
from workers.policies.subject import Asked
from workers.router.outcomes import Outcome
from workers.router.planner import Planner


def plan(value: bytes | None, clock: ManualClock | None = None, **record: object) -> Outcome:
    planner = Planner(topology(), clock or ManualClock())
    (outcome,) = planner.plan([received(value, **record)])  # type: ignore[arg-type]
    return outcome


ROUTED_BEFORE = (("relay.target", b"gone"), ("relay.route", b"a rule"))


def headers_of(record: Outgoing) -> dict[str, str]:
    assert len({name for name, _ in record.headers}) == len(record.headers), "a header is repeated"
    return {name: (value or b"").decode() for name, value in record.headers}


def test_a_routed_record_keeps_its_bytes_and_gains_headers() -> None:
    value = envelope() + b"  "
    outcome = plan(value, offset=7, headers=(("traceparent", b"00-1"), *ROUTED_BEFORE))
    (record,) = outcome.outgoing
    assert (record.topic, record.key, record.value) == ("model_requests.llm", b"k", value)
    assert headers_of(record) == {
        "traceparent": "00-1",
        "relay.message-id": "m1",
        "relay.source": "web",
        "relay.target": "llm",
        "relay.route": "errors",
        "relay.received-at": "1700000000000",
        "relay.routed-at": "1700000000000",
        "relay.origin.topic": "model_requests",
        "relay.origin.partition": "3",
        "relay.origin.offset": "7",
    }


def test_a_message_that_names_its_target_goes_there_before_every_rule() -> None:
    outcome = plan(envelope(text="crash"), headers=(("relay.target", b"soon"),))
    (record,) = outcome.outgoing
    assert record.topic == "model_requests.soon"
    assert headers_of(record)["relay.route"] == "named"


def test_a_message_to_a_target_of_other_tenants_is_refused_and_becomes_no_dead_letter() -> None:
    planner = Planner(topology(tenants={"acme": {"targets": "soon"}}), ManualClock())
    headers = (("relay.tenant", b"acme"),)
    (outcome,) = planner.plan([received(envelope(), headers=headers)])
    (answer,) = outcome.outgoing
    assert answer.topic == "model_responses"
    assert (outcome.error, outcome.dead_lettered) == (ErrorClass.UNROUTABLE, False)
    error = decode_response(answer.value).payload.error
    assert error is not None
    assert error.reason == "the route 'errors' leads to the target 'llm', which its tenant may not use"


def test_a_message_that_names_no_target_of_ours_is_told_which_it_may_have_meant() -> None:
    outcome = plan(envelope(), headers=(("relay.target", b"sooon"),))
    assert outcome.error is ErrorClass.UNROUTABLE
    error = decode_response(outcome.outgoing[1].value).payload.error
    assert error is not None
    assert "did you mean 'soon'?" in error.reason


def test_an_error_goes_to_the_partition_where_its_gateway_waits() -> None:
    waits = (("relay.reply-partition", b"3,7"), ("relay.tenant", b"acme"))
    _, answer = plan(b"not json", headers=waits).outgoing
    assert answer.partition == 3
    assert headers_of(answer)["relay.tenant"] == "acme"
    _, nowhere = plan(b"not json", headers=(("relay.reply-partition", b"-1"),)).outgoing
    assert nowhere.partition is None


@pytest.mark.parametrize(
    ("payload", "key"),
    [
        ({"session_id": "s", "user_id": "u"}, b"s"),
        ({"user_id": "u"}, b"u"),
        ({}, b"m1"),
    ],
)
def test_a_record_without_a_key_gets_session_user_or_message_id(payload: dict[str, str], key: bytes) -> None:
    (record,) = plan(envelope(**payload), key=None).outgoing
    assert record.key == key


@pytest.mark.parametrize(
    ("value", "error", "reason"),
    [
        (b"not json", ErrorClass.SCHEMA, "not JSON"),
        (b"\xff\xfe", ErrorClass.SCHEMA, "invalid UTF-8"),
        (b"", ErrorClass.SCHEMA, "empty"),
        (None, ErrorClass.SCHEMA, "tombstone"),
        (b"[1]", ErrorClass.SCHEMA, "array"),
        (b'{"message_id": "m1", "source": 5}', ErrorClass.SCHEMA, "source"),
        (envelope(source="stranger", text="hello"), ErrorClass.UNROUTABLE, "no route"),
    ],
)
def test_what_cannot_be_read_or_routed_is_a_dead_letter_and_an_error_response(
    value: bytes | None, error: ErrorClass, reason: str
) -> None:
    outcome = plan(value, key=b"m1", headers=(("traceparent", b"00-1"),))
    dead, answer = outcome.outgoing
    assert (dead.topic, dead.value, dead.key) == ("dlq.model_requests", value, b"m1")
    assert dead.timestamp_ms == 1_700_000_000_000
    assert headers_of(dead)["relay.error.class"] == error
    assert reason in headers_of(dead)["__dlq.errors.message"]
    response = decode_response(answer.value)
    assert (answer.topic, answer.key, response.message_id) == ("model_responses", b"m1", "m1")
    assert response.status == "error"
    assert response.payload.error is not None
    assert response.payload.error.code is error
    assert headers_of(answer)["traceparent"] == "00-1"


def test_a_message_id_is_found_in_json_of_the_wrong_shape() -> None:
    outcome = plan(b'{"message_id": "m9", "source": "web", "payload": "text"}', key=b"session")
    answer = outcome.outgoing[1]
    assert decode_response(answer.value).message_id == "m9"
    assert answer.key == b"session"


def test_what_nothing_identifies_is_answered_under_its_position() -> None:
    outcome = plan(b"?", key=None)
    dead_letter, response = outcome.outgoing
    assert (dead_letter.topic, response.topic) == ("dlq.model_requests", "model_responses")
    assert decode_response(response.value).message_id == outcome.record.position


def test_an_event_that_is_no_envelope_is_answered_under_its_own_id() -> None:
    event = b'{"specversion": "1.0", "id": "e-1", "source": "shop", "type": "t", "data": 5}'
    outcome = plan(event, key=None, headers=(("content-type", b"application/cloudevents+json"),))
    response = outcome.outgoing[1]
    assert decode_response(response.value, response.headers).message_id == "e-1"


def test_an_event_without_a_time_counts_from_when_kafka_got_it() -> None:
    event = b'{"specversion": "1.0", "id": "e-1", "source": "shop", "type": "t", "data": {"text": "hi"}}'
    outcome = plan(event, key=None, headers=(("content-type", b"application/cloudevents+json"),))
    assert outcome.error is not ErrorClass.SCHEMA


@pytest.mark.parametrize(
    ("kind", "field"),
    [(Payload, "session_id"), (Request, "timestamp")],
    ids=["as it is read", "as it is routed"],
)
def test_a_fault_of_ours_ends_one_message_and_tells_nobody_its_text(
    monkeypatch: pytest.MonkeyPatch, kind: type, field: str
) -> None:
    def quote(_: object) -> None:
        raise ValueError("can't make sense of my secret question")

    monkeypatch.setattr(kind, field, property(quote), raising=False)
    with capture_logs() as logs:
        outcome = plan(envelope(source="iot", text="my secret question"))
    assert (outcome.error, outcome.dead_lettered) == (ErrorClass.INTERNAL, True)
    (line,) = logs
    assert (line["event"], line["error"]) == ("routing_bug", "ValueError")
    assert "secret" not in repr(logs)
    dead_letter, response = outcome.outgoing
    assert "secret" not in repr((dead_letter.headers, response))


def test_a_message_that_breaks_a_batch_leaves_the_others_their_routes(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    decide = Router.decide

    def fragile(router: Router, asked: Asked) -> Decision | None:
        if asked.request.message_id == "bad":
            raise ValueError("my secret question")
        return decide(router, asked)

    def none_at_all(_router: Router, _asked: object) -> None:
        raise ValueError("my secret question")

    monkeypatch.setattr(Router, "decide", fragile)
    monkeypatch.setattr(Router, "decide_many", none_at_all)
    records = [
        received(envelope()),
        received(envelope(message_id="bad")),
        received(b"?"),
        received(envelope()),
    ]
    with capture_logs() as logs:
        outcomes = Planner(topology(), ManualClock()).plan(records)
    assert [outcome.error for outcome in outcomes] == [None, ErrorClass.INTERNAL, ErrorClass.SCHEMA, None]
    assert [line["event"] for line in logs] == ["routing_bug"]
    assert "secret" not in repr(logs)


def test_a_message_past_its_targets_limit_is_answered_and_no_dead_letter() -> None:
    clock = ManualClock()
    clock.advance(4.9)
    assert plan(envelope(source="iot", text="x"), clock).error is None
    clock.advance(0.1)
    outcome = plan(envelope(source="iot", text="x"), clock)
    (answer,) = outcome.outgoing
    assert not outcome.dead_lettered
    response = decode_response(answer.value)
    assert response.payload.error is not None
    assert response.payload.error.code is ErrorClass.EXPIRED
    assert response.source == "soon"


def test_a_message_past_its_own_deadline_is_answered_and_no_dead_letter() -> None:
    late = (("relay.deadline", b"1699999999000"),)
    assert plan(envelope(), headers=late).error is ErrorClass.EXPIRED
    assert plan(envelope(), headers=(("relay.deadline", b"1700000001000"),)).error is None
    assert plan(envelope(), headers=(("relay.deadline", b"soon"),)).error is None


@given(st.binary(max_size=200) | st.none(), st.binary(max_size=10) | st.none())
def test_whatever_the_bytes_there_is_an_outcome_that_loses_nothing(
    value: bytes | None, key: bytes | None
) -> None:
    outcome = plan(value, key=key)
    assert outcome.outgoing
    assert any(record.value == value for record in outcome.outgoing)


@given(
    st.recursive(
        st.none() | st.booleans() | st.floats(allow_nan=False) | st.text(),
        lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
        max_leaves=5,
    )
)
def test_whatever_the_fields_there_is_an_outcome(context: object) -> None:
    value = orjson.dumps({"message_id": context, "source": context, "payload": context, "timestamp": context})
    assert plan(value).error is ErrorClass.SCHEMA
    assert plan(envelope(context=context)).outgoing


def test_a_batch_is_classified_once_and_each_message_goes_where_its_intent_says() -> None:
    class Counting:
        batches = 0

        def classify(self, texts: Sequence[str]) -> list[Guess]:
            self.batches += 1
            return [Guess("urgent" if "now" in text else "unknown", 0.9) for text in texts]

    classifier = Counting()
    deployment = topology(
        intents={"urgent": {"examples": ["now"]}, "unknown": {"examples": ["hello"]}},
        routes=[
            {"name": "urgent", "when": {"intent": "urgent", "min_confidence": 0.8}, "to": "soon"},
            {"name": "default", "to": "llm"},
        ],
    )
    planner = Planner(deployment, ManualClock(), classifier)
    outcomes = planner.plan([received(envelope(text=text)) for text in ("now", "later", "right now")])
    assert [outcome.decision and outcome.decision.target for outcome in outcomes] == ["soon", "llm", "soon"]
    assert [outcome.decision and outcome.decision.confidence for outcome in outcomes] == [0.9, 1.0, 0.9]
    assert classifier.batches == 1


def test_a_replay_that_fails_in_the_router_is_answered_under_its_job() -> None:
    outcome = plan(b"?", headers=((h.REPLAY_ID, b"job/dlq:0:1"), (h.REPLAY_COUNT, b"1")))
    carried = headers_of(outcome.outgoing[1])
    assert (carried[h.REPLAY_ID], carried[h.REPLAY_COUNT]) == ("job/dlq:0:1", "1")
