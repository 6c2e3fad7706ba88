"""A tenant reaches no target that it may not use, whoever chooses it."""

from collections.abc import Sequence
from typing import Any

import pytest

from schemas import headers as h
from schemas.envelope import Request
from schemas.errors import ErrorClass
from workers.core.topology.fallback import Fallback, parse_fallback
from workers.core.topology.model import Topology
from workers.policies.fallback import Chains, Fit
from workers.policies.guess import Guess
from workers.policies.route import Decision, Router, compile_routes
from workers.policies.subject import Asked

TARGETS = {
    name: {"type": "openai", "instances": [{"url": "http://127.0.0.1:1/v1"}]}
    for name in ("llm", "dear", "next", "other")
}
TENANTS = {"acme": {"targets": ["llm", "other"]}, "poor": {"targets": "other"}, "rich": {}}
KEYS = [b"key %d" % number for number in range(200)]


def router(*routes: dict[str, Any]) -> Router:
    return compile_routes(
        Topology.model_validate({"version": 1, "routes": routes, "targets": TARGETS, "tenants": TENANTS})
    )


def asked(tenant: str | None, key: bytes = b"k", target: str | None = None, text: str = "hi") -> Asked:
    said = {h.TENANT: tenant, h.TARGET: target}
    request = Request.model_validate(
        {"message_id": "m", "source": "web", "payload": {"text": text}, "timestamp": 1}
    )
    headers = tuple((name, h.to_bytes(value)) for name, value in said.items() if value is not None)
    return Asked(request, headers, key=key)


def decide(routed: Router, *messages: Asked) -> list[Decision]:
    """What is decided of many at once, which is what is decided of each alone."""
    decided = routed.decide_many(messages)
    assert decided == [routed.decide(each) for each in messages]
    assert None not in decided
    return [each for each in decided if each is not None]


def test_a_rule_that_leads_to_a_target_of_others_refuses_and_the_next_rule_is_not_asked() -> None:
    routed = router(
        {"name": "vip", "when": {"keywords": ["vip"]}, "to": "dear"}, {"name": "all", "to": "llm"}
    )
    tenants = ("acme", "poor", "rich", "stranger", None)
    decisions = decide(routed, *(asked(tenant, text="vip") for tenant in tenants))
    assert [each.target for each in decisions] == ["dear"] * 5
    assert [each.allowed for each in decisions] == [False, False, True, True, True]
    assert "the route 'vip' leads to the target 'dear'" in routed.why_nowhere(asked("acme", text="vip"))
    usual = decide(routed, *(asked(tenant) for tenant in tenants))
    assert [each.allowed for each in usual] == [True, False, True, True, True]


def test_a_target_that_is_named_past_the_gateway_is_refused_too() -> None:
    (acme, rich) = decide(
        router({"name": "all", "to": "llm"}), asked("acme", target="dear"), asked("rich", target="dear")
    )
    assert (acme.allowed, rich.allowed) == (False, True)


class Sure:
    """Takes every text for a refund."""

    def classify(self, texts: Sequence[str]) -> list[Guess]:
        return [Guess("refund", 0.9) for _ in texts]


def test_a_rule_that_holds_by_what_a_text_is_about_refuses_as_well() -> None:
    topology = {
        "version": 1,
        "intents": {"refund": {"examples": ["money back"]}},
        "routes": [
            {"name": "refunds", "when": {"intent": "refund"}, "to": "dear"},
            {"name": "all", "to": "llm"},
        ],
        "targets": TARGETS,
        "tenants": TENANTS,
    }
    routed = compile_routes(Topology.model_validate(topology), Sure())
    acme, rich = decide(routed, asked("acme"), asked("rich"))
    assert (acme.target, acme.allowed, rich.allowed) == ("dear", False, True)


@pytest.mark.parametrize("prefer", ["cheapest", "fastest"])
def test_of_several_targets_those_are_chosen_from_that_a_tenant_may_use(prefer: str) -> None:
    routed = router({"name": "all", "to": ["dear", "next", "llm"], "prefer": prefer})
    acme = decide(routed, *(asked("acme", key) for key in KEYS))
    assert {(each.target, each.allowed) for each in acme} == {("llm", True)}
    assert {each.allowed for each in decide(routed, *(asked("poor", key) for key in KEYS))} == {False}
    assert "dear" in {each.target for each in decide(routed, *(asked("rich", key) for key in KEYS))}


def test_no_canary_and_no_shadow_shows_a_message_to_a_target_of_others() -> None:
    both = {"canary": {"to": "next", "percent": 50}, "shadow": {"to": "dear", "percent": 100}}
    routed = router({"name": "all", "to": "llm", **both})
    acme = decide(routed, *(asked("acme", key) for key in KEYS))
    assert {(each.target, each.shadow) for each in acme} == {("llm", None)}
    rich = decide(routed, *(asked("rich", key) for key in KEYS))
    assert {(each.target, each.shadow) for each in rich} == {("llm", "dear"), ("next", "dear")}


def test_a_canary_that_a_tenant_may_use_still_gets_its_share_where_the_rest_is_refused() -> None:
    routed = router({"name": "all", "to": "dear", "canary": {"to": "llm", "percent": 50}})
    acme = decide(routed, *(asked("acme", key) for key in KEYS))
    assert {(each.target, each.allowed) for each in acme} == {("llm", True), ("dear", False)}


def test_without_tenants_that_are_bound_to_targets_nothing_is_compiled_for_them() -> None:
    topology = {"version": 1, "routes": [{"name": "all", "to": "llm"}], "targets": TARGETS}
    bound = Topology.model_validate({**topology, "tenants": {"rich": {"rate": 5}}})
    assert compile_routes(bound).of_tenants == {}


def test_a_fallback_of_others_is_left_out_wherever_it_came_from() -> None:
    lists = parse_fallback({"overloaded": ["dear"], "default": ["dear", "llm"]})
    assert isinstance(lists, Fallback)
    chains = Chains("other", ("dear",), lists, lambda _: True)
    mine = frozenset({"other", "llm"})
    assert chains.open(["next", "llm"], mine) == ("llm",)
    assert chains.failed(ErrorClass.TIMEOUT, ["next"], mine) == ("llm",)
    assert (chains.at_once(ErrorClass.OVERLOADED), chains.at_once(ErrorClass.OVERLOADED, mine)) == (
        True,
        False,
    )


def test_what_is_too_long_goes_to_no_larger_target_of_others() -> None:
    topology = Topology.model_validate(
        {"version": 1, "routes": [{"name": "all", "to": "llm"}], "targets": TARGETS}
    )
    fit = Fit(topology.targets["llm"], 1, (("dear", 100.0), ("other", 200.0)))
    request = asked(None, text="a text that is too long").request
    assert fit.elsewhere(request) == ("dear", "other")
    assert fit.elsewhere(request, frozenset({"llm", "other"})) == ("other",)
