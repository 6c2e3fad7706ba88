from decimal import Decimal
from typing import Any

from schemas.envelope import Request
from tests.unit.topology.support import topology
from workers.core.topology.model import Topology
from workers.policies.quota import Demand, billionths, quotas_of

NOON = 1_700_000_000.0 - 1_700_000_000.0 % 86_400 + 43_200


def deployment(tenants: dict[str, Any] | None = None, **target: Any) -> Topology:
    instances = [{"url": "http://127.0.0.1:8091/v1"}]
    base = {"type": "openai", "instances": instances, "price": {"input": 1, "output": 2}}
    return topology(tenants=tenants or {}, targets={"llm": {**base, **target}})


def request(text: str, **parameters: Any) -> Request:
    payload = {"text": text, "parameters": parameters}
    return Request.model_validate({"message_id": "a", "source": "t", "payload": payload, "timestamp": 1.0})


def test_without_limits_nothing_is_asked() -> None:
    assert quotas_of(deployment(), "llm") is None
    assert quotas_of(deployment({"acme": {"weight": 3}}), None) is None


def test_an_estimate_counts_prompt_and_answer_and_their_price() -> None:
    quotas = quotas_of(deployment(limits={"tokens_per_minute": 1000}), "llm")
    assert quotas is not None
    demand = quotas.estimate(request("x" * 384, max_tokens=50))
    assert demand == Demand(100 + 50, billionths(Decimal("0.1") + Decimal("0.1")))


def test_tenant_and_target_are_drawn_from_together_and_only_their_own() -> None:
    limited = {"limits": {"requests_per_minute": 60}, "budget": {"per_day": 5, "exceeded": "refuse"}}
    quotas = quotas_of(deployment({"acme": limited, "other": {}}, limits={"tokens_per_minute": 6000}), "llm")
    assert quotas is not None
    gauges = quotas.gauges("acme", Demand(100, 7), NOON)
    assert [(gauge.scope, gauge.kind, gauge.exceeded) for gauge in gauges] == [
        ("tenant", "requests", "wait"),
        ("tenant", "money", "refuse"),
        ("target", "tokens", "wait"),
    ]
    assert [gauge.draw.amount for gauge in gauges] == [1, 7, 100]
    assert [gauge.draw.rate for gauge in gauges] == [1.0, 0.0, 100.0]
    assert gauges[1].draw.most == 5_000_000_000
    for stranger in ("other", None, "nobody"):
        assert [gauge.scope for gauge in quotas.gauges(stranger, Demand(1, 1), NOON)] == ["target"]


def test_a_tenants_limits_are_the_same_for_all_targets() -> None:
    limited = {"acme": {"limits": {"requests_per_minute": 60}}}
    keys = {
        gauge.draw.key
        for target in ("llm", None)
        if (quotas := quotas_of(deployment(limited), target)) is not None
        for gauge in quotas.gauges("acme", Demand(1, 1), NOON)
    }
    assert keys == {"tenant:acme:requests"}


def test_a_budget_ends_at_midnight_and_the_next_day_has_another() -> None:
    quotas = quotas_of(deployment(budget={"per_day": 1}), "llm")
    assert quotas is not None
    days = [quotas.gauges(None, Demand(1, 1), NOON + 86_400 * day)[0].draw for day in range(2)]
    assert [draw.ends_at for draw in days] == [NOON + 43_200, NOON + 43_200 + 86_400]
    assert len({draw.key for draw in days}) == 2


def test_nobody_gets_a_token_for_nothing() -> None:
    assert billionths(Decimal("0.0000000001")) == 1
    assert billionths(Decimal(0)) == 0
