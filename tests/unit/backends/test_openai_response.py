"""What responses mean, of the kinds that real servers send."""

from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from schemas.envelope import MAX_COUNT
from schemas.errors import ErrorClass
from workers.backends.openai_response import parse, refusal
from workers.core.errors import MessageError, PermanentError, TransientError
from workers.core.ports import Usage


def completion(**choice: Any) -> dict[str, Any]:
    whole = {"index": 0, "message": {"role": "assistant", "content": "hi"}, "finish_reason": "stop", **choice}
    return {
        "model": "m",
        "choices": [whole],
        "usage": {"prompt_tokens": 3, "completion_tokens": 2, "total_tokens": 5},
    }


def parsed_failure(body: Any) -> MessageError:
    data = body if isinstance(body, bytes) else orjson.dumps(body)
    with pytest.raises(MessageError) as caught:
        parse("host:1", 200, data)
    return caught.value


def test_an_answer_has_text_model_reason_and_usage() -> None:
    answer = parse("host:1", 200, orjson.dumps(completion()))
    assert (answer.text, answer.model, answer.finish_reason) == ("hi", "m", "stop")
    assert answer.usage == Usage(3, 2, 5)


def test_an_answer_in_parts_is_put_together() -> None:
    parts = [{"type": "text", "text": "a"}, {"type": "text", "text": "b"}]
    assert parse("h", 200, orjson.dumps(completion(message={"content": parts}))).text == "ab"


@pytest.mark.parametrize(
    "more",
    [
        {"message": {"content": None, "tool_calls": [{"id": "c1"}]}, "finish_reason": "tool_calls"},
        {"message": {"content": "hi", "reasoning_content": "hm"}},
        {"logprobs": {"content": []}},
    ],
)
def test_what_is_more_than_text_is_kept_as_the_model_sent_it(more: dict[str, Any]) -> None:
    body = completion(**more)
    assert parse("h", 200, orjson.dumps(body)).choices == body["choices"]


def test_several_answers_are_all_kept_and_the_first_is_the_text() -> None:
    body = completion()
    body["choices"].append({"index": 1, "message": {"content": "ho"}, "finish_reason": "stop"})
    answer = parse("h", 200, orjson.dumps(body))
    assert (answer.text, answer.choices) == ("hi", body["choices"])


def test_a_plain_text_is_not_kept_twice_whatever_fills_up_the_answer() -> None:
    message: dict[str, Any] = {
        "role": "assistant",
        "content": "hi",
        "refusal": None,
        "annotations": [],
        "tool_calls": [],
    }
    assert parse("h", 200, orjson.dumps(completion(message=message, logprobs=None))).choices is None


def test_a_model_that_spent_its_tokens_thinking_answers_nothing() -> None:
    body = completion(message={"content": None}, finish_reason="length")
    assert parse("h", 200, orjson.dumps(body)).text == ""


@pytest.mark.parametrize(
    ("usage", "expected"),
    [
        (None, None),
        ({"prompt_tokens": 3}, Usage(3, 0, 3)),
        ({"prompt_tokens": -3}, None),
        ({"prompt_tokens": "3"}, None),
        ({"prompt_tokens": True}, None),
        ({"prompt_tokens": 2**64 - 1}, None),
        ({"prompt_tokens": MAX_COUNT, "completion_tokens": 1}, Usage(MAX_COUNT, 1, MAX_COUNT)),
        ([], None),
    ],
)
def test_odd_usage_costs_no_answer(usage: Any, expected: Usage | None) -> None:
    assert parse("h", 200, orjson.dumps({**completion(), "usage": usage})).usage == expected


@pytest.mark.parametrize(
    "body",
    [
        b'{"choices": [{"message": {"content": "ha',
        b"",
        b"<html>",
        b"null",
        b"[" * 5000,
        {"choices": []},
        {"choices": None},
        {"choices": ["x"]},
        {"object": "chat.completion"},
        {"error": {"message": "boom", "code": 500}},
        {"error": "boom"},
        completion(message=None),
        completion(message={"content": None}),
    ],
)
def test_what_is_no_answer_is_the_backends_failure(body: Any) -> None:
    error = parsed_failure(body)
    assert isinstance(error, TransientError)
    assert error.error_class is ErrorClass.UPSTREAM_5XX


@pytest.mark.parametrize(
    "body",
    [
        completion(finish_reason="content_filter"),
        completion(message={"content": None, "refusal": "no"}),
        {"error": {"code": "content_filter", "message": "x"}},
    ],
)
def test_a_filtered_answer_is_refused_for_its_content(body: Any) -> None:
    error = parsed_failure(body)
    assert isinstance(error, PermanentError)
    assert error.error_class is ErrorClass.CONTENT_FILTER


@given(
    st.recursive(
        st.none() | st.booleans() | st.integers(-(2**53), 2**53) | st.text(),
        lambda inner: (
            st.lists(inner)
            | st.dictionaries(
                st.sampled_from(
                    ["choices", "message", "content", "usage", "error", "code", "prompt_tokens", "x"]
                ),
                inner,
            )
        ),
    )
)
def test_no_json_makes_it_raise_anything_but_our_errors(body: Any) -> None:
    data = orjson.dumps(body)
    for status in (200, 400, 500):
        refusal("h", status, data, None)
    try:
        parse("h", 200, data)
    except MessageError:
        return


@pytest.mark.parametrize(
    ("status", "error", "error_class", "kind"),
    [
        (429, {"code": "rate_limit_exceeded"}, ErrorClass.RATE_LIMITED, TransientError),
        (503, {"code": 503, "type": "unavailable_error"}, ErrorClass.OVERLOADED, TransientError),
        (529, {"type": "overloaded_error"}, ErrorClass.OVERLOADED, TransientError),
        (401, {"code": "invalid_api_key"}, ErrorClass.AUTH, TransientError),
        (403, None, ErrorClass.AUTH, TransientError),
        (408, None, ErrorClass.TIMEOUT, TransientError),
        (500, None, ErrorClass.UPSTREAM_5XX, TransientError),
        (502, "oops", ErrorClass.UPSTREAM_5XX, TransientError),
        (302, None, ErrorClass.UPSTREAM_5XX, TransientError),
        (404, {"code": "model_not_found"}, ErrorClass.UPSTREAM_4XX, PermanentError),
        (422, [], ErrorClass.UPSTREAM_4XX, PermanentError),
        (400, {"code": "context_length_exceeded"}, ErrorClass.CONTEXT_LENGTH, PermanentError),
        (400, {"code": 400, "type": "exceed_context_size_error"}, ErrorClass.CONTEXT_LENGTH, PermanentError),
        (
            400,
            {"code": 400, "message": "This model's maximum context length is 2048 tokens."},
            ErrorClass.CONTEXT_LENGTH,
            PermanentError,
        ),
        (413, {"message": "prompt is too long"}, ErrorClass.CONTEXT_LENGTH, PermanentError),
        (400, {"code": "content_filter"}, ErrorClass.CONTENT_FILTER, PermanentError),
        (
            400,
            {"code": "x", "innererror": {"code": "ResponsibleAIPolicyViolation"}},
            ErrorClass.CONTENT_FILTER,
            PermanentError,
        ),
        (429, {"message": "context length"}, ErrorClass.RATE_LIMITED, TransientError),
    ],
)
def test_the_class_follows_from_status_and_code(
    status: int, error: Any, error_class: ErrorClass, kind: type[MessageError]
) -> None:
    result = refusal("h", status, orjson.dumps({"error": error}), 3.0)
    assert type(result) is kind
    assert (result.error_class, result.status, result.retry_after) == (error_class, status, 3.0)


def test_the_codes_of_servers_without_an_error_object_are_read_too() -> None:
    data = orjson.dumps({"object": "error", "message": "maximum context length is 10", "code": 400})
    assert refusal("h", 400, data, None).error_class is ErrorClass.CONTEXT_LENGTH


def test_an_errors_text_is_never_repeated() -> None:
    error = {
        "message": "bad key sk-CANARY for prompt CANARY",
        "code": "a CANARY sentence",
        "type": "bad_request",
    }
    result = refusal("h", 400, orjson.dumps({"error": error}), None)
    assert "CANARY" not in str(result)
    assert "bad_request" in result.reason


def test_an_answer_nested_deeper_than_it_could_be_written_again_is_none() -> None:
    deep = b'{"choices":[{"message":{"content":"x","deep":' + b"[" * 300 + b"]" * 300 + b"}}]}"
    with pytest.raises(MessageError, match="not whole JSON"):
        parse("h", 200, deep)
