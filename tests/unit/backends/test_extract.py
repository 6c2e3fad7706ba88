"""Answers taken out of JSON, and the classes of errors that it tells of."""

from typing import Any

import pytest

from schemas.errors import ErrorClass
from workers.backends.extract import Extractor, Pieces, class_of
from workers.core.errors import MessageError, UsageError
from workers.core.ports import Piece, Usage
from workers.core.topology.protocols import AnswerPaths, StreamPaths


def extractor(**paths: Any) -> Extractor:
    return Extractor("back", AnswerPaths(**paths), StreamPaths(text="$.delta", done="$.done"))


@pytest.mark.parametrize(
    ("path", "body", "text"),
    [
        ("$.a.b", b'{"a": {"b": "hi"}}', "hi"),
        ("$", b'"plain"', "plain"),
        ("$", b'{"x": 1}', '{"x":1}'),
        ("$.items[*].name", b'{"items": [{"name": "a"}, {"name": "b"}]}', "a\nb"),
        ("$.items[?@.best].name", b'{"items": [{"name": "a"}, {"name": "b", "best": true}]}', "b"),
        ("$.n", b'{"n": 5}', "5"),
        ("$.empty", b'{"empty": ""}', ""),
    ],
)
def test_the_text_is_found_by_its_path(path: str, body: bytes, text: str) -> None:
    assert extractor(text=path).parse(body).text == text


def test_model_reason_and_tokens_are_found_where_they_are_what_they_should_be() -> None:
    paths = {"model": "$.m", "finish_reason": "$.r", "prompt_tokens": "$.u.i", "completion_tokens": "$.u.o"}
    found = extractor(text="$.t", **paths).parse(
        b'{"t": "x", "m": "m1", "r": "length", "u": {"i": 3, "o": 4}}'
    )
    assert (found.model, found.finish_reason, found.usage) == ("m1", "length", Usage(3, 4, 7))
    odd = extractor(text="$.t", **paths).parse(b'{"t": "x", "m": 5, "r": null, "u": {"i": -1, "o": true}}')
    assert (odd.model, odd.finish_reason, odd.usage) == (None, "stop", None)


@pytest.mark.parametrize("body", [b"", b"{", b'{"other": 1}', b"\xff"])
def test_an_answer_without_text_is_the_backends_failure(body: bytes) -> None:
    with pytest.raises(MessageError) as caught:
        extractor(text="$.t").parse(body)
    assert caught.value.error_class is ErrorClass.UPSTREAM_5XX


def test_plain_text_is_an_answer_where_the_topology_says_so() -> None:
    assert extractor(format="text").parse("好的".encode()).text == "好的"
    with pytest.raises(MessageError, match="UTF-8"):
        extractor(format="text").parse(b"\xff")


@pytest.mark.parametrize(
    ("code", "error_class"),
    [
        ("rate_limited", ErrorClass.RATE_LIMITED),
        (429, ErrorClass.RATE_LIMITED),
        ("503", ErrorClass.OVERLOADED),
        ("QUOTA", ErrorClass.CONTENT_FILTER),  # what the topology says
        ("unroutable", ErrorClass.UPSTREAM_4XX),  # somebody else's own fault is a backend's failure here
        ("expired", ErrorClass.TIMEOUT),
        ("who knows", ErrorClass.UPSTREAM_5XX),
        ({"deep": "PROMPT"}, ErrorClass.UPSTREAM_5XX),
    ],
)
def test_an_error_has_a_class_and_its_text_is_not_kept(code: Any, error_class: ErrorClass) -> None:
    found = extractor(text="$.t", error="$.e", errors={"QUOTA": ErrorClass.CONTENT_FILTER})
    with pytest.raises(MessageError) as caught:
        found.answer({"t": "PROMPT", "e": code, "message": "PROMPT"})
    assert caught.value.error_class is error_class
    assert "PROMPT" not in caught.value.reason


@pytest.mark.parametrize("code", [None, "", False, [], {}])
def test_no_error_is_no_error(code: Any) -> None:
    assert extractor(text="$.t", error="$.e").answer({"t": "x", "e": code}).text == "x"


def test_a_refusals_class_comes_from_its_code_before_its_status() -> None:
    errors = {"422": ErrorClass.CONTEXT_LENGTH, "E7": ErrorClass.CONTENT_FILTER}
    found = extractor(error="$.code", errors=errors)
    assert found.refusal(422, b"", None).error_class is ErrorClass.CONTEXT_LENGTH
    assert found.refusal(422, b'{"code": "E7"}', None).error_class is ErrorClass.CONTENT_FILTER
    assert found.refusal(404, b"not json", 3.0).retry_after == 3.0


def test_pieces_make_up_the_answer_and_the_last_message_ends_it() -> None:
    seen: list[Piece] = []
    pieces = Pieces(extractor(text="$.t", prompt_tokens="$.i"), seen.append)
    assert pieces.take({"delta": "a"}) is None
    assert pieces.take({"other": 1}) is None
    assert pieces.take({"delta": "b"}) is None
    answer = pieces.take({"done": True, "i": 2})
    assert answer is not None
    assert (answer.text, answer.usage) == ("ab", Usage(2, 0, 2))
    assert [piece.text for piece in seen] == ["a", "b"]


def test_what_names_no_class_is_none() -> None:
    assert [class_of(code) for code in ("200", 399, 600, "x", None, 4.5)] == [None] * 6


@pytest.mark.parametrize("path", ["$.[", "a b c(", "$.a | $.b"])
def test_what_is_no_single_path_is_refused(path: str) -> None:
    with pytest.raises(UsageError, match=r"answer\.text"):
        extractor(text=path)
