"""Streams of chat completions, as real servers send them, and broken ones."""

from typing import Any

import orjson
import pytest

from schemas.errors import ErrorClass
from workers.backends.openai_stream import StreamedAnswer
from workers.core.errors import MessageError
from workers.core.ports import Answer, Piece, Usage

USAGE = {"prompt_tokens": 3, "completion_tokens": 2, "total_tokens": 5}


def chunk(delta: Any = None, finish_reason: str | None = None, index: int = 0, **more: Any) -> dict[str, Any]:
    return {
        "model": "m",
        "choices": [{"index": index, "delta": delta or {}, "finish_reason": finish_reason}],
        **more,
    }


class Stream:
    """A stream under test, and the pieces that came out of it."""

    def __init__(self, most: int = 10_000) -> None:
        self.pieces: list[Piece] = []
        self.answer = StreamedAnswer("host:1", 200, self.pieces.append, most)

    def feed(self, *events: Any) -> None:
        for event in events:
            data = event if isinstance(event, bytes) else orjson.dumps(event)
            self.answer.feed(b"data: " + data + b"\n\n")

    def finish(self, *events: Any) -> Answer:
        self.feed(*events)
        return self.answer.finish()

    def failure(self, *events: Any) -> MessageError:
        with pytest.raises(MessageError) as caught:
            self.finish(*events)
        return caught.value


def test_every_piece_goes_on_at_once_and_the_whole_is_the_answer() -> None:
    stream = Stream()
    stream.feed(chunk({"role": "assistant", "content": ""}), chunk({"content": "Hel"}))
    assert stream.pieces == [Piece("Hel", model="m")]
    answer = stream.finish(
        chunk({"content": "lo"}), chunk(finish_reason="stop"), {"choices": [], "usage": USAGE}, b"[DONE]"
    )
    assert stream.pieces[1:] == [Piece("lo"), Piece(finish_reason="stop")]
    assert answer == Answer("Hello", "m", "stop", Usage(3, 2, 5))


def test_tool_calls_go_on_as_they_came_and_are_put_together_in_the_answer() -> None:
    def call(**fields: Any) -> dict[str, Any]:
        return {"tool_calls": [{"index": 0, **fields}]}

    first = call(id="c1", type="function", function={"name": "look_up", "arguments": ""})
    stream = Stream()
    answer = stream.finish(
        chunk({"role": "assistant", "content": None, **first}),
        chunk(call(function={"arguments": '{"id":'})),
        chunk(call(function={"arguments": " 7}"})),
        chunk(finish_reason="tool_calls"),
        b"[DONE]",
    )
    assert stream.pieces[0] == Piece(delta=first, model="m")
    assert stream.pieces[2].delta == call(function={"arguments": " 7}"})
    assert answer.text == ""
    assert answer.choices is not None
    (tool_call,) = answer.choices[0]["message"]["tool_calls"]
    assert tool_call["id"] == "c1"
    assert tool_call["function"] == {"name": "look_up", "arguments": '{"id": 7}'}


def test_several_answers_are_kept_apart() -> None:
    stream = Stream()
    answer = stream.finish(
        chunk({"content": "a"}),
        chunk({"content": "b"}, index=1),
        chunk({"content": "A"}),
        chunk(finish_reason="stop"),
        chunk(finish_reason="length", index=1),
    )
    assert [piece.choice for piece in stream.pieces] == [0, 1, 0, 0, 1]
    assert (answer.text, answer.finish_reason) == ("aA", "stop")
    assert answer.choices is not None
    assert [choice["message"]["content"] for choice in answer.choices] == ["aA", "b"]


def test_probabilities_and_thoughts_are_kept_beside_the_text() -> None:
    piece = chunk({"reasoning_content": "hm", "content": None})
    piece["choices"][0]["logprobs"] = {"content": [{"token": "hm"}]}
    stream = Stream()
    answer = stream.finish(
        piece, chunk({"reasoning_content": "m"}), chunk({"content": "x"}), chunk(finish_reason="stop")
    )
    assert stream.pieces[0].delta == {"reasoning_content": "hm", "logprobs": {"content": [{"token": "hm"}]}}
    assert answer.choices is not None
    assert answer.choices[0]["message"]["reasoning_content"] == "hmm"
    assert answer.choices[0]["logprobs"] == {"content": [{"token": "hm"}]}


def test_a_stream_without_done_is_whole_when_every_choice_said_why_it_ended() -> None:
    assert Stream().finish(chunk({"content": "x"}), chunk(finish_reason="stop")).text == "x"


@pytest.mark.parametrize(
    "events", [[], [chunk({"content": "x"})], [chunk({"content": "x"}), {"choices": []}]]
)
def test_a_stream_that_ends_before_its_end_is_worth_another_attempt(events: list[Any]) -> None:
    assert Stream().failure(*events).error_class is ErrorClass.CONNECT


@pytest.mark.parametrize(
    ("event", "expected"),
    [
        (b"not json", ErrorClass.UPSTREAM_5XX),
        (b"[]", ErrorClass.UPSTREAM_5XX),
        ({"error": {"message": "PROMPT", "code": "overloaded"}}, ErrorClass.UPSTREAM_5XX),
        ({"error": {"message": "PROMPT", "code": "content_filter"}}, ErrorClass.CONTENT_FILTER),
        (chunk({"content": "x"}, index=-1), ErrorClass.UPSTREAM_5XX),
    ],
)
def test_what_is_no_part_of_an_answer_ends_the_attempt(event: Any, expected: ErrorClass) -> None:
    error = Stream().failure(chunk({"content": "x"}), event)
    assert error.error_class is expected
    assert "PROMPT" not in error.reason


def test_a_filtered_answer_is_an_error_and_its_end_is_not_told_as_one() -> None:
    stream = Stream()
    error = stream.failure(chunk({"content": "x"}), chunk(finish_reason="content_filter"), b"[DONE]")
    assert error.error_class is ErrorClass.CONTENT_FILTER
    assert [piece.finish_reason for piece in stream.pieces] == [None]


def test_a_stream_without_end_is_cut_off() -> None:
    stream = Stream(most=1000)
    assert "more than" in stream.failure(*[chunk({"content": "x" * 50})] * 20).reason


def test_nothing_counts_after_the_end() -> None:
    stream = Stream()
    stream.finish(chunk({"content": "x"}), chunk(finish_reason="stop"), b"[DONE]", b"rubbish")
    assert len(stream.pieces) == 2
