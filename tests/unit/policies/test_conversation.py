"""What a model is told of the turns before a message."""

from typing import Any

from schemas.envelope import Request
from workers.core.ports import Answer
from workers.policies.conversation import brings_its_own, turn_of, with_history

USER, SAID = {"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}
SYSTEM = {"role": "system", "content": "Be brief."}


def request(**payload: Any) -> Request:
    return Request.model_validate({"message_id": "m", "source": "s", "payload": payload, "timestamp": 1})


def messages(request: Request) -> list[dict[str, Any]]:
    return [message.model_dump(exclude_none=True) for message in request.payload.messages or ()]


def test_the_turns_before_stand_between_the_instructions_and_the_new_message() -> None:
    new = {"role": "user", "content": "c", "name": "bob"}
    told = with_history(request(messages=[SYSTEM, new], text="d"), [[USER, SAID]])
    assert messages(told) == [SYSTEM, USER, SAID, new]
    assert told.payload.text == "d"


def test_a_message_without_a_past_stays_as_it_is() -> None:
    first = request(text="a")
    assert with_history(first, []) is first


def test_the_request_itself_is_not_changed() -> None:
    first = request(text="a")
    with_history(first, [[USER, SAID]])
    assert first.payload.messages is None


def test_unknown_fields_of_a_request_stay_through_it() -> None:
    told = with_history(request(text="a", mine={"x": 1}), [[USER, SAID]])
    assert told.payload.model_extra == {"mine": {"x": 1}}


def test_a_past_begins_with_a_question_though_the_turn_before_was_dropped() -> None:
    result = {"role": "tool", "tool_call_id": "c1", "content": "7"}
    told = with_history(request(text="x"), [[result, SAID], [USER, SAID]])
    assert messages(told) == [USER, SAID]
    assert messages(with_history(request(text="x"), [[result, SAID]])) == []


def test_a_request_with_an_answer_among_its_messages_brings_its_own_past() -> None:
    assert brings_its_own(request(messages=[USER, SAID, USER]).payload)
    assert not brings_its_own(request(messages=[SYSTEM, USER]).payload)
    assert not brings_its_own(request(text="a").payload)


def test_a_turn_is_what_was_asked_last_and_the_answer() -> None:
    payload = request(messages=[SYSTEM, USER, SAID, {"role": "user", "content": "c"}], text="d").payload
    assert turn_of(payload, Answer("e")) == [
        {"role": "user", "content": "c"},
        {"role": "user", "content": "d"},
        {"role": "assistant", "content": "e"},
    ]


def test_tool_calls_belong_to_the_turn_so_that_their_results_can_follow() -> None:
    calls = [{"id": "c1", "type": "function", "function": {"name": "f", "arguments": "{}"}}]
    answer = Answer("", choices=[{"message": {"role": "assistant", "content": None, "tool_calls": calls}}])
    assert turn_of(request(text="a").payload, answer)[-1] == {
        "role": "assistant",
        "content": "",
        "tool_calls": calls,
    }
