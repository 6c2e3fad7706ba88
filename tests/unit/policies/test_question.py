from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from schemas.envelope import Payload
from workers.policies.question import normal, question_of, says_no_cache


def key(tenant: str | None = None, settings: Any = None, **payload: Any) -> str:
    return question_of(Payload.model_validate(payload), tenant=tenant, settings=settings).key


BASE: dict[str, Any] = {"text": "Where is my parcel?", "model": "m", "parameters": {"temperature": 0}}


@pytest.mark.parametrize(
    "same",
    [
        {"text": "  Where is  my\tparcel? "},
        {"text": "Ｗhere is my parcel？"},
        {"user_id": "u1"},
        {"session_id": "s1"},
        {"stream": True},
        {"context": {}},
    ],
)
def test_who_asks_and_how_it_is_spaced_makes_no_other_question(same: dict[str, Any]) -> None:
    assert key(**{**BASE, **same}) == key(**BASE)


@pytest.mark.parametrize(
    "other",
    [
        {"text": "where is my parcel?"},
        {"model": "n"},
        {"parameters": {"temperature": 1}},
        {"context": {"user_history": ["a"]}},
        {"messages": [{"role": "user", "content": "hi"}]},
        {"tools": [{"name": "x"}]},
        {"tenant": "acme"},
        {"settings": {"model": "other"}},
    ],
)
def test_whatever_the_answer_may_depend_on_makes_another_question(other: dict[str, Any]) -> None:
    assert key(**{**BASE, **other}) != key(**BASE)


def test_in_a_chat_the_last_turn_is_the_text_and_the_earlier_ones_count() -> None:
    def chat(*turns: str) -> Payload:
        return Payload.model_validate({"messages": [{"role": "user", "content": turn} for turn in turns]})

    first, second = question_of(chat("a", "b"), tenant=None), question_of(chat("x", "b"), tenant=None)
    assert (first.text, second.text) == ("b", "b")
    assert first.rest != second.rest
    assert question_of(chat("a", "b  b"), tenant=None).key == question_of(chat("a", "b b"), tenant=None).key


def test_a_turn_that_is_no_text_is_never_taken_for_another() -> None:
    def picture(url: str) -> str:
        part = {"type": "image_url", "image_url": {"url": url}}
        return key(messages=[{"role": "user", "content": [part]}])

    assert picture("a") == picture("a")
    assert picture("a") != picture("b")


def test_lines_and_their_indentation_mean_something() -> None:
    code = "def f():\n    if a:\n        b()"
    assert normal(code) == code
    assert normal(code.replace("        b", "    b")) != normal(code)
    assert normal("a \n b") == "a\n b"


@given(st.text())
def test_what_is_normal_stays_so(text: str) -> None:
    assert normal(normal(text)) == normal(text)


def test_cache_control_is_read_as_http_writes_it() -> None:
    assert says_no_cache(["max-age=0, No-Cache", None, "no-store"]) == {"no-cache", "no-store"}
    assert says_no_cache([None, "", "private"]) == frozenset()
