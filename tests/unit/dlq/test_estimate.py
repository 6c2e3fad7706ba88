"""What a dry run says of tokens and cost."""

from typing import Any

import orjson
import pytest

from dlq_tools.estimate import HOW, Estimate
from dlq_tools.ledger_records import Letter
from dlq_tools.plan import Planned
from tests.dlq_world import LLM, topology
from workers.core.records import Outgoing

PRICE = {"input": 0.5, "output": 2}


def planned(text: str | None, target: str | None = "llm", **payload: Any) -> Planned:
    fields = {"message_id": "m", "source": "s", "timestamp": 1, "payload": {"text": text, **payload}}
    value = b"no envelope" if text is None else orjson.dumps(fields)
    return Planned(Letter("dlq", 0, 0), Outgoing(LLM, None, value), None, 1, target)


@pytest.fixture
def estimate() -> Estimate:
    return Estimate(topology(price=PRICE))


def test_tokens_of_prompts_and_answers_are_counted_and_priced(estimate: Estimate) -> None:
    estimate.add(planned("abcd" * 996))  # 996 tokens, and 4 for the turn
    estimate.add(planned("abcd" * 996, parameters={"max_tokens": 744}))
    assert (estimate.prompt, estimate.answer) == (2000, 1000)
    assert estimate.lines() == [
        "about 2,000 tokens of prompts and 1,000 of answers: USD 3.00",
        f"  ({HOW})",
    ]
    assert estimate.as_json()["cost"] == 3.0


def test_what_has_no_price_is_said_beside_the_sum(estimate: Estimate) -> None:
    estimate.add(planned("abcd"))
    estimate.add(planned("abcd", target=None))
    first, left, how = estimate.lines()
    assert "USD 0.5" in first
    assert left == f"  without 1 for {LLM}, which has no price"
    assert "no tokeniser" in how


def test_without_prices_there_are_tokens_alone() -> None:
    estimate = Estimate(topology())
    estimate.add(planned("abcd"))
    assert estimate.lines() == ["about 5 tokens of prompts and 256 of answers", f"  ({HOW})"]
    assert estimate.as_json()["cost"] is None


def test_what_is_no_envelope_is_counted_apart(estimate: Estimate) -> None:
    estimate.add(planned(None))
    assert (estimate.lines(), estimate.as_json()["unread"]) == ([], 1)
