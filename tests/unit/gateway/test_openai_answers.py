"""Answers as OpenAI's clients read them: whole ones, and streams whatever came of them."""

from typing import Any

import pytest

from schemas.chunk import Chunk
from schemas.response import Response
from workers.gateway.openai_answers import Told, completion
from workers.gateway.openai_errors import OpenAIError

USAGE = {"prompt_tokens": 3, "completion_tokens": 2, "total_tokens": 5}
CALLS = [{"id": "c1", "type": "function", "function": {"name": "f", "arguments": "{}"}}]
CALLING = {
    "index": 0,
    "message": {"role": "assistant", "content": None, "tool_calls": CALLS},
    "finish_reason": "tool_calls",
}


def response(**payload: Any) -> Response:
    fields = {"text": "Hello", "model": "m", "finish_reason": "stop", "usage": USAGE, **payload}
    return Response.model_validate(
        {
            "message_id": "m1",
            "source": "llm",
            "payload": fields,
            "status": "ok",
            "route": {},
            "timing": {},
            "timestamp": 1,
        }
    )


def chunk(index: int, text: str = "", run: str = "r1", **fields: Any) -> Chunk:
    return Chunk.model_validate(
        {"message_id": "m1", "attempt": 1, "run": run, "index": index, "text": text, "timestamp": 1, **fields}
    )


class Stream:
    """A stream under test, and its events."""

    def __init__(self, *, usage: bool = False) -> None:
        self.told = Told("m1", "asked", 7, usage=usage)
        self.events: list[dict[str, Any]] = []

    def feed(self, *chunks: Chunk) -> "Stream":
        for each in chunks:
            self.events += self.told.chunk(each)
        return self

    def end(self, response: Response) -> "Stream":
        self.events += self.told.rest(response)
        return self

    def text(self, choice: int = 0) -> str:
        return "".join(each["delta"].get("content") or "" for each in self.choices(choice))

    def choices(self, number: int = 0) -> list[dict[str, Any]]:
        return [one for event in self.events for one in event["choices"] if one["index"] == number]

    def reasons(self, number: int = 0) -> list[str]:
        return [one["finish_reason"] for one in self.choices(number) if one["finish_reason"]]


def test_a_whole_answer_is_a_chat_completion() -> None:
    assert completion(response(), "asked", 7) == {
        "id": "m1",
        "object": "chat.completion",
        "created": 7,
        "model": "m",
        "choices": [
            {
                "index": 0,
                "message": {"role": "assistant", "content": "Hello", "refusal": None},
                "finish_reason": "stop",
                "logprobs": None,
            }
        ],
        "usage": USAGE,
    }


def test_an_answer_of_no_model_has_all_that_clients_read() -> None:
    answer = completion(response(model=None, finish_reason=None, usage=None), "orders", 7)
    assert (answer["model"], answer["choices"][0]["finish_reason"]) == ("orders", "stop")
    assert answer["usage"] == {"prompt_tokens": 0, "completion_tokens": 0, "total_tokens": 0}


def test_tool_calls_come_back_as_the_model_sent_them() -> None:
    (choice,) = completion(response(text="", choices=[CALLING]), "m", 7)["choices"]
    assert choice["message"]["tool_calls"] == CALLS
    assert choice["finish_reason"] == "tool_calls"


def test_a_stream_begins_with_the_role_and_ends_with_the_reason() -> None:
    stream = Stream().feed(chunk(0, "Hel", model="m"), chunk(1, "lo", finish_reason="stop", final=True))
    stream.end(response())
    deltas = [each["delta"] for each in stream.choices()]
    assert deltas == [{"role": "assistant", "content": "Hel"}, {"content": "lo"}, {}]
    assert stream.reasons() == ["stop"]
    assert all(event["object"] == "chat.completion.chunk" for event in stream.events)
    assert {(event["id"], event["created"], event["model"]) for event in stream.events} == {("m1", 7, "m")}
    assert all("usage" not in event for event in stream.events)


def test_the_usage_comes_last_in_an_event_of_its_own() -> None:
    stream = Stream(usage=True).feed(chunk(0, "Hello", final=True)).end(response())
    assert stream.events[-1]["usage"] == USAGE
    assert stream.events[-1]["choices"] == []
    assert all(event["usage"] is None for event in stream.events[:-1])


@pytest.mark.parametrize("came", [[], ["Hel"], ["Hello"]])
def test_what_no_piece_brought_the_response_does(came: list[str]) -> None:
    stream = Stream().feed(*(chunk(number, text) for number, text in enumerate(came))).end(response())
    assert stream.text() == "Hello"
    assert stream.reasons() == ["stop"]
    assert stream.choices()[0]["delta"]["role"] == "assistant"


def test_an_attempt_that_says_the_same_again_goes_on_where_the_broken_one_ended() -> None:
    stream = Stream().feed(chunk(0, "Hel"), chunk(0, "H", run="r2"), chunk(1, "ello", run="r2"))
    assert stream.end(response()).text() == "Hello"


@pytest.mark.parametrize("again", ["Hi there", "He said", "Bye"])
def test_an_attempt_that_says_something_else_ends_the_stream_with_an_error(again: str) -> None:
    stream = Stream().feed(chunk(0, "Hel"))
    with pytest.raises(OpenAIError, match="began anew"):
        stream.feed(chunk(0, again, run="r2"))
    assert stream.text() == "Hel"


def test_an_answer_that_is_not_what_was_streamed_is_an_error() -> None:
    with pytest.raises(OpenAIError, match="began anew"):
        Stream().feed(chunk(0, "Hi")).end(response())


def test_tool_calls_are_streamed_as_they_came_and_not_told_again() -> None:
    delta = {"tool_calls": [{"index": 0, **CALLS[0]}]}
    stream = Stream().feed(chunk(0, delta=delta), chunk(1, finish_reason="tool_calls", final=True))
    stream.end(response(text="", choices=[CALLING]))
    assert [each["delta"] for each in stream.choices()] == [{"role": "assistant", **delta}, {}]
    assert stream.reasons() == ["tool_calls"]


def test_tool_calls_of_an_answer_without_pieces_are_numbered_as_in_a_stream() -> None:
    stream = Stream().end(response(text="", choices=[CALLING]))
    assert stream.choices()[0]["delta"]["tool_calls"] == [{"index": 0, **CALLS[0]}]


def test_an_attempt_after_one_that_called_tools_can_not_go_on() -> None:
    stream = Stream().feed(chunk(0, delta={"tool_calls": [{"index": 0}]}))
    with pytest.raises(OpenAIError, match="began anew"):
        stream.feed(chunk(0, "Hello", run="r2"))


def test_several_answers_are_told_apart() -> None:
    stream = Stream().feed(chunk(0, "a"), chunk(1, "b", choice=1))
    said = [
        {"index": n, "message": {"content": text}, "finish_reason": "stop"}
        for n, text in enumerate(["aa", "bb"])
    ]
    stream.end(response(text="aa", choices=said))
    assert (stream.text(0), stream.text(1)) == ("aa", "bb")
    assert (stream.reasons(0), stream.reasons(1)) == (["stop"], ["stop"])


def test_probabilities_stand_beside_the_delta() -> None:
    stream = Stream().feed(chunk(0, "x", delta={"logprobs": {"content": []}}))
    (choice,) = stream.choices()
    assert choice["logprobs"] == {"content": []}
    assert "logprobs" not in choice["delta"]
