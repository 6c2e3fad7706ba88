from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from schemas.envelope import Request
from tests.unit.topology.support import topology
from workers.core.topology.model import OpenAITarget, Topology
from workers.policies.cost import (
    USUAL_ANSWER,
    answer_limit,
    estimated_cost,
    prompt_tokens,
    tariff_of,
    text_tokens,
)


def priced(**price: Any) -> Topology:
    target = {"type": "openai", "instances": [{"url": "http://127.0.0.1:8091/v1"}], "price": price}
    return topology(currency="EUR", targets={"llm": target})


def request(**payload: Any) -> Request:
    return Request.model_validate({"message_id": "a", "source": "test", "payload": payload, "timestamp": 1.0})


def test_a_price_is_of_a_thousand_tokens_and_exact() -> None:
    tariff = tariff_of(priced(input=0.1, output="0.3"), "llm")
    assert tariff is not None
    assert tariff.currency == "EUR"
    assert sum((tariff.cost(1, 2) for _ in range(10)), Decimal(0)) == Decimal("0.007")


def test_a_target_without_a_price_has_no_tariff() -> None:
    assert tariff_of(topology(), "llm") is None


@given(st.decimals(0, 1000, places=9), st.integers(0, 10**7), st.integers(0, 10**7))
def test_no_sum_is_rounded(price: Decimal, prompt: int, completion: int) -> None:
    tariff = tariff_of(priced(input=str(price), output=str(price)), "llm")
    assert tariff is not None
    assert tariff.cost(prompt, completion) * 1000 == price * (prompt + completion)


@pytest.mark.parametrize(
    ("text", "least", "most"),
    [
        ("where is my parcel, and when will it come?", 8, 14),
        ("推荐一款5000元以内的笔记本电脑", 12, 20),
        ("帮我查一下 tracking number 12345", 9, 18),
        ("", 0, 0),
    ],
)
def test_an_estimate_is_near_what_tokenisers_count(text: str, least: int, most: int) -> None:
    assert least <= text_tokens(text) <= most


@given(st.text(), st.text())
def test_a_longer_text_never_has_fewer_tokens(text: str, more: str) -> None:
    assert text_tokens(text) <= text_tokens(text + more) <= text_tokens(text) + text_tokens(more)


def test_a_chat_counts_all_its_turns_and_what_is_no_text_does_not_count() -> None:
    turns = [
        {"role": "user", "content": "hello " * 40},
        {"role": "user", "content": [{"type": "text", "text": "hello " * 40}, {"type": "image_url"}]},
        {"role": "assistant", "content": None},
    ]
    assert prompt_tokens(request(messages=turns)) == 2 * 60 + 3 * 4
    assert prompt_tokens(request(context={"history": "x" * 1000})) == 0


def test_the_answer_is_as_long_as_the_request_or_the_target_allows() -> None:
    target = OpenAITarget.model_validate(
        {"type": "openai", "instances": [{"url": "http://x"}], "parameters": {"max_tokens": 50}}
    )
    assert answer_limit(request(parameters={"max_tokens": 7}), target) == 7
    assert answer_limit(request(parameters={"max_tokens": "7"}), target) == 50
    assert answer_limit(request()) is None
    tariff = tariff_of(priced(output=1), "llm")
    assert tariff is not None
    assert estimated_cost(tariff, request(text="hi"), target) == Decimal("0.05")
    assert estimated_cost(tariff, request(text="hi")) == Decimal(USUAL_ANSWER) / 1000
