"""CloudEvents 1.0 are read as envelopes, and answered as CloudEvents."""

import base64
import json
from typing import Any

import pytest

from schemas.codec import decode_request, decode_response, encode_request, encode_response
from schemas.envelope import Request
from schemas.errors import DecodeError
from schemas.formats import WireFormat
from schemas.headers import Headers, with_headers
from schemas.response import ResponseFields

ATTRIBUTES: Headers = (
    ("ce_specversion", b"1.0"),
    ("ce_id", b"e1"),
    ("ce_source", b"/shop/web"),
    ("ce_type", b"question.asked"),
    ("ce_time", b"2024-05-09T06:02:47.5Z"),
)
STRUCTURED: Headers = (("content-type", b"Application/CloudEvents+JSON; charset=utf-8"),)
RESPONSE: ResponseFields = {
    "message_id": "e1",
    "source": "llm",
    "payload": {"text": "yes"},
    "status": "ok",
    "route": {"target": "llm"},
    "timing": {"total": 1.5},
    "timestamp": 1715234567.5,
}


def structured(**changes: Any) -> bytes:
    """An event in structured mode."""
    event = {
        "specversion": "1.0",
        "id": "e1",
        "source": "/shop/web",
        "type": "question.asked",
        "time": "2024-05-09T06:02:47.5Z",
        "data": {"text": "hi"},
        **changes,
    }
    return json.dumps({name: value for name, value in event.items() if value is not None}).encode()


def check(request: Request) -> None:
    """The envelope that the events above stand for."""
    assert request.message_id == "e1"
    assert request.source == "/shop/web"
    assert request.timestamp == 1715234567.5
    assert request.payload.text == "hi"
    assert request.__pydantic_extra__ is not None
    assert request.__pydantic_extra__["cloudevent"]["type"] == "question.asked"


def test_an_event_in_binary_mode_is_an_envelope() -> None:
    request, wire = decode_request(b'{"text": "hi"}', ATTRIBUTES)
    check(request)
    assert wire is WireFormat.CLOUDEVENTS_BINARY


def test_an_event_in_structured_mode_is_an_envelope() -> None:
    request, wire = decode_request(structured(), STRUCTURED)
    check(request)
    assert wire is WireFormat.CLOUDEVENTS_STRUCTURED


def test_text_and_base64_data_are_read_too() -> None:
    check(decode_request(b"hi", (*ATTRIBUTES, ("content-type", b"text/plain"))).request)
    check(decode_request(structured(data="hi"), STRUCTURED).request)
    data = base64.b64encode(b'{"text": "hi"}').decode()
    check(decode_request(structured(data=None, data_base64=data), STRUCTURED).request)


def test_framed_avro_data_is_read_as_the_payload() -> None:
    fields = {"message_id": "x", "source": "x", "timestamp": 0, "payload": {}, "text": "hi"}
    value = encode_request(Request.model_validate(fields), WireFormat.AVRO_REGISTRY).value
    assert decode_request(value, ATTRIBUTES).format is WireFormat.CLOUDEVENTS_BINARY


def test_the_record_has_the_time_where_the_event_has_none() -> None:
    without_time = ATTRIBUTES[:-1]
    assert decode_request(b"{}", without_time, received_ms=1500).request.timestamp == 1.5
    with pytest.raises(DecodeError, match="timestamp: field required"):
        decode_request(b"{}", without_time)


@pytest.mark.parametrize(
    ("value", "headers", "said"),
    [
        (None, ATTRIBUTES, "tombstone"),
        (b"{}", with_headers(ATTRIBUTES, {"ce_specversion": "2.0"}), r"specversion: only CloudEvents 1\.x"),
        (b"{}", with_headers(ATTRIBUTES, {"ce_time": "yesterday"}), "time: not an RFC 3339 time"),
        (b"{}", with_headers(ATTRIBUTES, {"ce_time": "2024-05-09T06:02:47"}), "time: not an RFC 3339 time"),
        (b"{}", (*ATTRIBUTES, ("ce_subject", b"\xff")), "ce_subject: invalid UTF-8"),
        (b"{}", (("ce_specversion", b"1.0"),), "message_id: field required"),
        (b"\x89PNG", (*ATTRIBUTES, ("content-type", b"image/png")), "this content type is not read"),
        (b"\xff", (*ATTRIBUTES, ("content-type", b"text/plain")), "data: invalid UTF-8"),
        (b"hi", ATTRIBUTES, "not JSON"),
        (structured(specversion=None), STRUCTURED, "specversion"),
        (structured(time=5), STRUCTURED, "time: not an RFC 3339 time"),
        (structured(data=None), STRUCTURED, "payload: "),
        (structured(data=[1]), STRUCTURED, "payload: "),
        (structured(data_base64="*"), STRUCTURED, "data_base64: not base64"),
        (structured(data_base64=5), STRUCTURED, "data_base64: a string is needed"),
        (b"[]", STRUCTURED, "an array where an object is needed"),
        (b"x", (("content-type", b"application/cloudevents+avro"),), r"only application/cloudevents\+json"),
        (b"[]", (("content-type", b"application/cloudevents-batch+json"),), "only application/cloudevents"),
    ],
)
def test_events_that_are_no_envelopes_are_refused_naming_the_attribute(
    value: bytes | None, headers: Headers, said: str
) -> None:
    with pytest.raises(DecodeError, match=said):
        decode_request(value, headers)


def test_a_response_in_binary_mode_holds_the_same_json_as_any_other() -> None:
    value, headers = encode_response(RESPONSE, WireFormat.CLOUDEVENTS_BINARY)
    assert value == encode_response(RESPONSE).value
    assert headers == {
        "ce_specversion": "1.0",
        "ce_id": "e1",
        "ce_source": "llm",
        "ce_type": "relayfleet.response.v1",
        "ce_time": "2024-05-09T06:02:47.500000Z",
        "content-type": "application/json",
    }


def test_a_response_in_structured_mode_holds_the_envelope_as_its_data() -> None:
    value, headers = encode_response(RESPONSE, WireFormat.CLOUDEVENTS_STRUCTURED)
    assert json.loads(value)["data"] == json.loads(encode_response(RESPONSE).value)
    assert decode_response(value, with_headers((), headers)).payload.text == "yes"


def test_requests_are_not_written_as_cloudevents() -> None:
    request = Request.model_validate({"message_id": "a", "source": "b", "payload": {}, "timestamp": 1})
    with pytest.raises(ValueError, match="not written as cloudevents-binary"):
        encode_request(request, WireFormat.CLOUDEVENTS_BINARY)
