"""JSON: the documented example, and errors that say what and where without showing what stands there."""

import json
from typing import Any

import pytest

from schemas.codec import decode_request, decode_response, encode_response
from schemas.codec.jsontext import MAX_DEPTH
from schemas.codec.reader import MAX_VALUE_BYTES
from schemas.errors import DecodeError
from schemas.formats import WireFormat
from schemas.response import ResponseFields

EXAMPLE = """{"message_id": "req_12345", "source": "web",
 "payload": {"text": "推荐一款5000元以内的笔记本电脑", "context": {"user_history": ["之前咨询过显示器"]}},
 "timestamp": 1715234567}"""


def request(**changes: Any) -> dict[str, Any]:
    """A small request as producers write it."""
    return {"message_id": "r1", "source": "web", "payload": {"text": "hi"}, "timestamp": 1.0, **changes}


def refused(value: bytes | None) -> DecodeError:
    """The error that this value is refused with."""
    with pytest.raises(DecodeError) as caught:
        decode_request(value)
    return caught.value


def test_the_documented_example_is_accepted_as_it_stands() -> None:
    decoded, wire = decode_request(EXAMPLE.encode())
    assert wire is WireFormat.JSON
    assert decoded.message_id == "req_12345"
    assert decoded.payload.text == "推荐一款5000元以内的笔记本电脑"
    assert decoded.payload.context == {"user_history": ["之前咨询过显示器"]}
    assert decoded.timestamp == 1715234567


def test_five_megabytes_of_text_are_accepted() -> None:
    text = "推" * 1_700_000
    value = json.dumps(request(payload={"text": text}), ensure_ascii=False).encode()
    assert decode_request(value).request.payload.text == text


@pytest.mark.parametrize(
    ("value", "said", "position"),
    [
        (None, "tombstone", None),
        (b"", "empty", None),
        (b" \n", "empty", None),
        (b"hello", "not JSON", 0),
        ('{"a": "推荐", x}'.encode(), "not JSON", 16),
        (b'{"message_id": "\xff"}', "invalid UTF-8", 16),
        (b'{"a": "\\ud800"}', "not JSON", None),
        (b'{"a": NaN}', "not JSON", 6),
        (b'{"a": 1e999}', "not JSON", None),
        (b"[1]", "an array where an object is needed", None),
        (b"null", "null where an object is needed", None),
        (b'{"a":' * 500 + b"1" + b"}" * 500, f"deeper than {MAX_DEPTH}", None),
        (b"[" * 100_000, "not JSON", None),
        (b" " * (MAX_VALUE_BYTES + 1), "too many", None),
    ],
)
def test_what_is_no_json_object_is_refused_saying_why_and_at_which_byte(
    value: bytes | None, said: str, position: int | None
) -> None:
    error = refused(value)
    assert said in str(error)
    if position is not None:
        assert error.position == position
        assert f"byte {position}" in str(error)


@pytest.mark.parametrize(
    ("fields", "path"),
    [
        ({}, "message_id"),
        (request(message_id=5), "message_id"),
        (request(message_id=""), "message_id"),
        (request(message_id="x" * 257), "message_id"),
        (request(payload="secret-prompt"), "payload"),
        (request(payload={"text": ["secret-prompt"]}), "payload.text"),
        (
            request(payload={"messages": [{"role": "user"}, {"content": "secret-prompt"}]}),
            "payload.messages.1.role",
        ),
        (request(payload={"context": "secret-prompt"}), "payload.context"),
        (request(payload={"stream": "yes"}), "payload.stream"),
        (request(timestamp="1715234567"), "timestamp"),
        (request(timestamp=True), "timestamp"),
        (request(timestamp=-1), "timestamp"),
        (request(timestamp=1715234567000), "timestamp"),
    ],
)
def test_a_wrong_field_is_named_and_its_value_never_shown(fields: dict[str, Any], path: str) -> None:
    error = refused(json.dumps(fields).encode())
    assert error.path == path
    assert path in str(error)
    assert error.wire == WireFormat.JSON
    assert "secret-prompt" not in str(error)


def test_an_error_names_three_fields_and_counts_the_rest() -> None:
    assert "; source: " in str(refused(b"{}"))
    assert str(refused(b"{}")).endswith("and 1 more")


def answer(**payload: Any) -> ResponseFields:
    """A response with this payload."""
    return {
        "message_id": "r1",
        "source": "llm",
        "payload": payload,  # type: ignore[typeddict-item]  # tests write what a backend may give
        "status": "ok",
        "route": {"target": "llm"},
        "timing": {"total": 1.5},
        "timestamp": 2.0,
    }


def test_a_response_says_that_it_is_json() -> None:
    value, headers = encode_response(answer(text="yes"))
    assert json.loads(value)["payload"] == {"text": "yes"}
    assert headers == {"content-type": "application/json"}


@pytest.mark.parametrize("wire", WireFormat)
def test_an_answer_cut_inside_an_emoji_and_impossible_counts_are_still_published(wire: WireFormat) -> None:
    usage = {"prompt_tokens": 2**70, "completion_tokens": 1, "total_tokens": 1}
    value, headers = encode_response(answer(text="so \ud83d", usage=usage), wire)
    response = decode_response(value, tuple((name, text.encode()) for name, text in headers.items()))
    assert response.payload.text == "so \ufffd"
    assert response.payload.usage is not None
    assert response.payload.usage.prompt_tokens == 2**63 - 1
