"""What of an envelope reaches the model, and in which form."""

from typing import Any

import orjson
import pytest

from schemas.envelope import Message, Payload
from schemas.errors import ErrorClass
from workers.backends.openai_request import ALLOWED, RESERVED, check_parameters, render
from workers.core.errors import PermanentError, UsageError


def body(payload: Payload, model: str | None = None, **defaults: Any) -> dict[str, Any]:
    result: dict[str, Any] = orjson.loads(render(payload, model, defaults))
    return result


def test_the_history_comes_before_the_text() -> None:
    payload = Payload(
        text="推荐一款笔记本电脑", context={"user_history": ["之前咨询过显示器", "also asked for a desk"]}
    )
    assert body(payload)["messages"] == [
        {"role": "user", "content": "之前咨询过显示器"},
        {"role": "user", "content": "also asked for a desk"},
        {"role": "user", "content": "推荐一款笔记本电脑"},
    ]


def test_turns_in_the_history_keep_their_roles() -> None:
    turn = {"role": "assistant", "content": "hello"}
    assert body(Payload(text="hi", context={"user_history": [turn]}))["messages"][0] == turn


def test_the_rest_of_the_context_reaches_the_model_as_one_system_turn() -> None:
    messages = body(Payload(text="hi", context={"locale": "zh", "user_history": ["x"]}))["messages"]
    assert [turn["role"] for turn in messages] == ["system", "user", "user"]
    assert '{"locale":"zh"}' in messages[0]["content"]


def test_context_joins_the_system_turn_that_is_there() -> None:
    system = Message(role="system", content="Be brief.")
    messages = body(Payload(messages=[system], text="hi", context={"locale": "zh"}))["messages"]
    assert [turn["role"] for turn in messages] == ["system", "user"]
    assert messages[0]["content"].startswith("Be brief.")
    assert "zh" in messages[0]["content"]


def test_messages_are_the_history_of_the_text() -> None:
    payload = Payload(
        messages=[Message.model_validate({"role": "user", "content": "a", "name": "bob"})], text="b"
    )
    assert body(payload)["messages"] == [
        {"role": "user", "content": "a", "name": "bob"},
        {"role": "user", "content": "b"},
    ]


@pytest.mark.parametrize(
    ("asked", "targets", "sent"), [("m1", "m2", "m1"), (None, "m2", "m2"), (None, None, None)]
)
def test_the_requests_model_goes_before_the_targets(
    asked: str | None, targets: str | None, sent: str | None
) -> None:
    assert body(Payload(text="hi", model=asked), targets).get("model") == sent


def test_parameters_of_the_message_go_before_those_of_the_target() -> None:
    sent = body(Payload(text="hi", parameters={"temperature": 0}), temperature=1, max_tokens=9)
    assert (sent["temperature"], sent["max_tokens"], sent["stream"]) == (0, 9, False)


def test_tools_and_several_answers_are_passed_on_as_they_came() -> None:
    asked = {"tools": [{"type": "function", "function": {"name": "f"}}], "tool_choice": "auto", "n": 2}
    sent = body(Payload(text="hi", parameters=asked))
    assert {name: sent[name] for name in asked} == asked


def test_a_stream_is_asked_for_with_its_usage() -> None:
    sent = orjson.loads(render(Payload(text="hi"), None, {"temperature": 1}, stream=True))
    assert (sent["stream"], sent["stream_options"]) == (True, {"include_usage": True})


def test_a_target_that_sets_a_parameter_allows_it_to_messages() -> None:
    assert body(Payload(text="hi", parameters={"mirostat": 2}), mirostat=1)["mirostat"] == 2


@pytest.mark.parametrize("name", [*sorted(RESERVED), "api_base", "extra_headers"])
def test_a_parameter_that_is_not_passed_on_is_refused_by_name(name: str) -> None:
    with pytest.raises(PermanentError, match=name) as caught:
        render(Payload(text="hi", parameters={name: 1}), None, {})
    assert caught.value.error_class is ErrorClass.SCHEMA


@pytest.mark.parametrize("name", sorted(RESERVED))
def test_a_target_can_not_set_what_the_fleet_decides(name: str) -> None:
    with pytest.raises(UsageError, match=name):
        check_parameters({name: 1})
    assert not ALLOWED & RESERVED


@pytest.mark.parametrize(
    "payload",
    [
        Payload(),
        Payload(messages=[]),
        Payload(context={"user_history": ["x"]}),
        Payload(text="hi", parameters={"seed": 2**70}),
        Payload(text="hi", context={"x": {1: object()}}),
    ],
)
def test_a_payload_that_asks_nothing_or_can_not_be_written_is_refused(payload: Payload) -> None:
    with pytest.raises(PermanentError) as caught:
        render(payload, None, {})
    assert caught.value.error_class is ErrorClass.SCHEMA
