import math
from collections import Counter
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from schemas.envelope import Request
from schemas.fleet_state import InstanceState
from tests.unit.topology.support import topology
from workers.policies.prefer import AS_FAST, Choice, Prefer, Speeds, speeds_of
from workers.policies.route import compile_routes
from workers.policies.subject import Asked


def choice(prefer: Prefer, speeds: dict[str, float] | None = None, **targets: dict[str, Any]) -> Choice:
    base = {"type": "openai", "instances": [{"url": "http://127.0.0.1:8091/v1"}]}
    routes = [{"name": "default", "to": list(targets), "prefer": prefer}]
    deployment = topology(routes=routes, targets={name: {**base, **more} for name, more in targets.items()})
    return Choice.of(deployment, tuple(targets), prefer, Speeds(speeds or {}))


def request(text: str = "hi", **parameters: Any) -> Request:
    payload = {"text": text, "parameters": parameters}
    return Request.model_validate({"message_id": "a", "source": "t", "payload": payload, "timestamp": 1.0})


def shares(chosen: Choice, count: int = 2000) -> dict[str, float]:
    picked = Counter(chosen.pick(request(), str(number).encode()) for number in range(count))
    return {name: number / count for name, number in picked.items()}


def test_the_cheapest_depends_on_how_long_question_and_answer_are() -> None:
    reads = {"price": {"input": 1, "output": 10}}
    writes = {"price": {"input": 10, "output": 1}}
    chosen = choice("cheapest", reads=reads, writes=writes)
    assert chosen.pick(request("x" * 4000, max_tokens=10), b"k") == "reads"
    assert chosen.pick(request("hi", max_tokens=1000), b"k") == "writes"


def test_what_has_no_price_costs_nothing_and_the_order_decides_between_equals() -> None:
    chosen = choice("cheapest", paid={"price": {"input": 1}}, own={}, other={})
    assert chosen.pick(request(), b"k") == "own"


def test_a_target_that_the_message_does_not_fit_into_or_that_is_out_is_not_chosen() -> None:
    chosen = choice("cheapest", {"b": math.inf}, a={"context_length": 100}, b={}, c={"price": {"input": 1}})
    assert chosen.pick(request("short"), b"k") == "a"
    assert chosen.pick(request("x" * 4000), b"k") == "c"


def test_where_nothing_fits_the_largest_says_so() -> None:
    chosen = choice("cheapest", a={"context_length": 100}, b={"context_length": 200})
    assert chosen.pick(request("x" * 4000), b"k") == "b"


def test_the_fastest_takes_all_and_those_nearly_as_fast_share() -> None:
    speeds = {"slow": 1.0, "fast": 0.5, "near": 0.55}
    assert shares(choice("fastest", {"slow": 1.0, "fast": 0.5}, slow={}, fast={})) == {"fast": 1.0}
    split = shares(choice("fastest", speeds, slow={}, fast={}, near={}))
    assert split == {"fast": pytest.approx(0.5, abs=0.05), "near": pytest.approx(0.5, abs=0.05)}


def test_a_target_of_which_nothing_is_known_is_tried_by_few() -> None:
    split = shares(choice("fastest", {"known": 9.0}, known={}, new={}))
    assert split == {"known": pytest.approx(0.95, abs=0.02), "new": pytest.approx(0.05, abs=0.02)}
    split = shares(choice("fastest", {}, first={}, second={}))
    assert split["first"] == pytest.approx(0.975, abs=0.02)


@given(st.dictionaries(st.sampled_from("abcd"), st.floats(0.001, 100), min_size=1), st.binary(max_size=8))
def test_nobody_is_sent_where_it_is_known_to_be_slower(speeds: dict[str, float], key: bytes) -> None:
    chosen = choice("fastest", speeds, **{name: {} for name in speeds})
    picked = chosen.pick(request(), key)
    assert picked == chosen.pick(request(), key)
    assert speeds[picked] <= min(speeds.values()) * AS_FAST


def instance(latency: float | None, breaker: str = "closed", limit: int = 10) -> InstanceState:
    return InstanceState(name="i", breaker=breaker, calls=0, limit=limit, latency=latency)


def test_a_targets_figure_is_the_mean_of_what_its_workers_see() -> None:
    reports = [
        {"a": [instance(1.0), instance(2.0, limit=30)], "out": [instance(1.0, "open")]},
        {"a": [instance(9.0, "open"), instance(None)], "new": [instance(None)]},
    ]
    assert speeds_of(reports) == {"a": pytest.approx(1.75), "out": math.inf}


def test_a_route_with_several_targets_leads_to_the_preferred_one_as_figures_change() -> None:
    instances = [{"url": "http://127.0.0.1:8091/v1"}]
    targets = {name: {"type": "openai", "instances": instances} for name in ("a", "b")}
    speeds = Speeds({"a": 1.0, "b": 0.1})
    deployment = topology(
        routes=[{"name": "default", "to": ["a", "b"], "prefer": "fastest"}], targets=targets
    )
    router = compile_routes(deployment, speeds=speeds)
    decided = router.decide(Asked(request()))
    assert decided is not None
    assert (decided.target, decided.rule) == ("b", "default")
    speeds.current = {"a": 0.01, "b": 0.1}
    decided = router.decide(Asked(request()))
    assert decided is not None
    assert decided.target == "a"
