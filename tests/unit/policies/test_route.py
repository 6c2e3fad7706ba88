"""Which target a message goes to."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from schemas.envelope import Request
from workers.core.errors import UsageError
from workers.core.topology.model import Topology
from workers.policies.route import Decision, Explanation, Router, compile_routes
from workers.policies.subject import Asked

TARGETS = {
    name: {"type": "openai", "instances": [{"url": "http://127.0.0.1:1/v1"}]}
    for name in ("llm", "orders", "vip")
}


class Asking:
    """A router that is asked about bare requests."""

    def __init__(self, compiled: Router) -> None:
        self.index = compiled.index
        self._compiled = compiled

    def decide(self, request: Request) -> Decision | None:
        (decision,) = self._compiled.decide_many([Asked(request)])
        assert decision == self._compiled.decide(Asked(request))
        return decision

    def explain(self, request: Request) -> list[Explanation]:
        return self._compiled.explain(Asked(request))


def router(*routes: dict[str, Any]) -> Asking:
    topology = Topology.model_validate({"version": 1, "routes": list(routes), "targets": TARGETS})
    return Asking(compile_routes(topology))


def request(text: str = "", source: str = "web", context: dict[str, Any] | None = None) -> Request:
    payload = {"text": text, "context": context or {}}
    return Request.model_validate({"message_id": "m", "source": source, "payload": payload, "timestamp": 1})


DEFAULT = {"name": "default", "to": "llm"}


@pytest.mark.parametrize(
    ("when", "asked", "holds"),
    [
        ({"keywords": ["订单", "order"]}, request("我的订单到哪了"), True),
        ({"keywords": ["订单", "order"]}, request("border control"), False),
        ({"pattern": r"\border\s+\d{6}"}, request("where is order 123456"), True),
        ({"pattern": r"\border\s+\d{6}"}, request("where is order 12"), False),
        ({"source": ["iot", "app"]}, request(source="app"), True),
        ({"source": ["iot"]}, request(source="web"), False),
        ({"context": {"user.tier": "gold"}}, request(context={"user": {"tier": "gold"}}), True),
        ({"context": {"user.tier": ["gold", "silver"]}}, request(context={"user": {"tier": "silver"}}), True),
        ({"context": {"user.tier": "gold"}}, request(context={"user": "gold"}), False),
        ({"context": {"flag": 1}}, request(context={"flag": True}), False),
        ({"context": {"flag": None}}, request(), False),
        ({"keywords": ["order"], "source": ["app"]}, request("order", source="web"), False),
        ({"keywords": ["order"], "source": ["app"]}, request("order", source="app"), True),
        ({}, request(), True),
    ],
)
def test_every_given_condition_must_hold(when: dict[str, Any], asked: Request, holds: bool) -> None:
    routed = router({"name": "rule", "when": when, "to": "orders"}, DEFAULT)
    wanted = Decision("orders", "rule") if holds else Decision("llm", "default")
    assert routed.decide(asked) == wanted
    assert routed.explain(asked)[0].matched is holds


def test_the_first_rule_that_holds_wins() -> None:
    routed = router(
        {"name": "a", "when": {"keywords": ["order"]}, "to": "orders"},
        {"name": "b", "when": {"keywords": ["order"]}, "to": "vip"},
        DEFAULT,
    )
    assert routed.decide(request("order")) == Decision("orders", "a")
    assert [each.matched for each in routed.explain(request("order"))] == [True, True, True]


def test_a_message_that_no_rule_takes_has_no_target() -> None:
    assert router({"name": "a", "when": {"source": ["app"]}, "to": "llm"}).decide(request()) is None


def test_the_reasons_name_the_condition_and_never_the_text() -> None:
    routed = router({"name": "a", "when": {"keywords": ["蓝屏"], "pattern": "\\d"}, "to": "llm"})
    assert (
        routed.explain(request("my secret 蓝屏 7"))[0].why
        == "keyword '蓝屏' is in the text; pattern '\\d' is found"
    )
    assert routed.explain(request("my secret"))[0].why == "none of 1 keyword is in the text"
    assert router(DEFAULT).explain(request())[0].why == "it has no conditions"


@pytest.mark.parametrize(
    ("route", "says"),
    [
        ({"name": "a", "to": "nowhere"}, "'nowhere'"),
        ({"name": "a", "when": {"pattern": "("}, "to": "llm"}, "route 'a'"),
        ({"name": "a", "when": {"keywords": [" "]}, "to": "llm"}, "empty"),
        ({"name": "a", "when": {"intent": "x"}, "to": "llm"}, "asks for an intent"),
    ],
)
def test_a_route_that_cannot_work_is_refused(route: dict[str, Any], says: str) -> None:
    with pytest.raises(UsageError, match=says):
        router(route)


def test_a_thousand_keywords_look_at_no_more_places_than_ten() -> None:
    """Counted in dictionary look-ups of phrases, not in seconds: machines differ."""

    def index_of(count: int) -> Asking:
        keywords = [f"关键词{number:04}" for number in range(count)]
        return router({"name": "a", "when": {"keywords": keywords}, "to": "llm"})

    small, large = index_of(10), index_of(1000)
    assert small.index.lengths == large.index.lengths
    assert small.index.starts == large.index.starts


@given(st.text(max_size=200), st.sampled_from(["web", "app"]))
def test_deciding_and_explaining_agree(text: str, source: str) -> None:
    routed = router(
        {"name": "a", "when": {"keywords": ["a", "错误"], "source": ["web"]}, "to": "orders"},
        {"name": "b", "when": {"pattern": "[0-9]{2}"}, "to": "vip"},
        DEFAULT,
    )
    asked = request(text, source)
    first = next(each for each in routed.explain(asked) if each.matched)
    assert routed.decide(asked) == Decision(first.target, first.rule)
