"""What a chat completion request becomes."""

from http import HTTPStatus
from typing import Any

import pytest

from workers.backends.openai_request import ALLOWED
from workers.gateway.openai_errors import OpenAIError
from workers.gateway.openai_questions import Asked, read

TARGETS = frozenset({"llm", "small"})
USER, SYSTEM = {"role": "user", "content": "hi"}, {"role": "system", "content": "Be brief."}


def ask(*messages: Any, **body: Any) -> Asked:
    return read({"messages": list(messages) or [USER], **body}, TARGETS, ALLOWED)


def payload(*messages: Any, **body: Any) -> dict[str, Any]:
    result: dict[str, Any] = ask(*messages, **body).fields["payload"]
    return result


@pytest.mark.parametrize(
    ("model", "target", "chosen"),
    [
        ("llm", "llm", None),
        ("small/gpt-x", "small", "gpt-x"),
        ("small/org/gpt-x", "small", "org/gpt-x"),
        ("gpt-4o", None, None),
        ("auto", None, None),
        ("other/gpt-x", None, None),
        ("llm/", None, None),
        (None, None, None),
    ],
)
def test_a_model_names_a_target_or_is_left_to_the_routes(
    model: str | None, target: str | None, chosen: str | None
) -> None:
    asked = ask(model=model)
    assert asked.target == target
    assert asked.fields["payload"].get("model") == chosen


def test_the_last_question_is_the_text_and_the_rest_its_history() -> None:
    said = payload(SYSTEM, USER, {"role": "assistant", "content": "ho"}, {"role": "user", "content": "and?"})
    assert said["text"] == "and?"
    assert said["messages"] == [SYSTEM, USER, {"role": "assistant", "content": "ho"}]
    assert "messages" not in payload(USER)


@pytest.mark.parametrize(
    "last",
    [
        {"role": "user", "content": [{"type": "text", "text": "hi"}]},
        {"role": "user", "content": "hi", "name": "bob"},
        {"role": "tool", "content": "7", "tool_call_id": "c1"},
        {"role": "assistant", "content": None, "tool_calls": [{"id": "c1"}]},
    ],
)
def test_messages_that_are_more_than_a_question_stay_as_they_came(last: dict[str, Any]) -> None:
    assert payload(SYSTEM, last) == {"messages": [SYSTEM, last], "parameters": {}}


def test_what_a_model_takes_is_passed_on_and_what_does_not_matter_is_left_out() -> None:
    tools = [{"type": "function", "function": {"name": "f"}}]
    said = payload(
        temperature=0.5, tools=tools, n=2, response_format={"type": "json_object"}, store=True, seed=None
    )
    assert said["parameters"] == {
        "temperature": 0.5,
        "tools": tools,
        "n": 2,
        "response_format": {"type": "json_object"},
    }


def test_user_session_and_metadata_have_their_place() -> None:
    said = payload(user="u1", session_id="s1", metadata={"a": "b"})
    assert (said["user_id"], said["session_id"], said["metadata"]) == ("u1", "s1", {"a": "b"})


def test_a_stream_and_its_usage_are_asked_for_apart() -> None:
    assert not ask().stream
    assert not ask(stream=True).usage
    assert ask(stream=True, stream_options={"include_usage": True}).usage


@pytest.mark.parametrize(
    ("body", "param"),
    [
        ({"messages": []}, "messages"),
        ({"messages": "hi"}, "messages"),
        ({"messages": ["hi"]}, "messages[0]"),
        ({"messages": [{"content": "hi"}]}, "messages[0]"),
        ({"messages": [USER, {"role": "user", "content": 7}]}, "messages[1].content"),
        ({"model": 7}, "model"),
        ({"stream": "yes"}, "stream"),
        ({"stream_options": []}, "stream_options"),
        ({"user": {}}, "user"),
        ({"api_base": "http://evil"}, "api_base"),
    ],
)
def test_what_is_wrong_is_said_with_its_name(body: dict[str, Any], param: str) -> None:
    with pytest.raises(OpenAIError) as caught:
        read({"messages": [USER], **body}, TARGETS, ALLOWED)
    assert caught.value.body["error"]["param"] == param
    assert caught.value.body["error"]["type"] == "invalid_request_error"
    assert caught.value.status is HTTPStatus.BAD_REQUEST
