"""Every condition of a route, by itself and within others."""

from datetime import datetime
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from schemas.envelope import Request
from schemas.headers import Headers
from tests.unit.topology.support import topology
from workers.core.topology.routing import DAYS
from workers.policies.guess import Guess
from workers.policies.language import language_of
from workers.policies.route import Router, compile_routes
from workers.policies.subject import Asked


class Classifier:
    """Says what it was told, by text, and keeps what it was asked."""

    def __init__(self, **guesses: Guess) -> None:
        self.guesses = guesses
        self.asked: list[list[str]] = []

    def classify(self, texts: list[str]) -> list[Guess]:
        self.asked.append(list(texts))
        return [self.guesses.get(text, Guess("unknown", 0.2)) for text in texts]


ORDER = Classifier(lost=Guess("order", 0.8), hello=Guess("unknown", 0.9))
INTENTS = {"order": {"examples": ["where is it"]}, "unknown": {"examples": ["hello"]}}


def router(*conditions: dict[str, Any], classifier: Classifier = ORDER) -> Router:
    rules = [{"name": f"r{number}", "when": when, "to": "llm"} for number, when in enumerate(conditions)]
    routes = [*rules, {"name": "default", "to": "llm"}]
    return compile_routes(topology(routes=routes, intents=INTENTS), classifier)  # type: ignore[arg-type]


def asked(
    text: str = "", *, source: str = "web", headers: Headers = (), at: float = 0.0, **envelope: Any
) -> Asked:
    fields = {"message_id": "m", "source": source, "payload": {"text": text}, "timestamp": 1}
    return Asked(Request.model_validate({**fields, **envelope}), headers, at)


def holds(when: dict[str, Any], message: Asked) -> bool:
    compiled = router(when)
    (decision,) = compiled.decide_many([message])
    first = compiled.explain(message)[0]
    assert decision is not None
    assert decision == compiled.decide(message)
    assert first.matched is (decision.rule == "r0"), first.why
    assert first.why
    return first.matched


@pytest.mark.parametrize(
    ("when", "message", "expected"),
    [
        ({"language": "zh"}, asked("我的 order 到哪了"), True),
        ({"language": "en"}, asked("我的 order 到哪了"), False),
        ({"language": ["ja", "ko"]}, asked("注文はどこですか"), True),
        ({"length": {"min": 3}}, asked("订单"), False),
        ({"length": {"max": 2}}, asked("订单"), True),
        ({"length": {"min": 2, "max": 2}}, asked("订单"), True),
        ({"length": {"max": 0}}, asked(), True),
        ({"tenant": "acme"}, asked(headers=(("relay.tenant", b"acme"),)), True),
        ({"tenant": "acme"}, asked(headers=(("relay.tenant", b"other"),), tenant="acme"), False),
        ({"tenant": ["acme", "other"]}, asked(tenant="other"), True),
        ({"tenant": "acme"}, asked(tenant={"name": "acme"}), False),
        ({"tenant": "acme"}, asked(), False),
        ({"pattern": r"\border \d{4}\b"}, asked("my Order 1234"), False),
        ({"pattern": r"(?i)\border \d{4}\b"}, asked("my Order 1234"), True),
        ({"pattern": r"订单 ?\d{4}"}, asked("订单２０２６"), True),
        ({"pattern": "２０"}, asked("订单２０２６"), True),
        ({"pattern": r"(a+)+$"}, asked("a" * 9_000 + "b"), False),
        ({"pattern": "x"}, asked("\ud800x"), True),
        ({"intent": "order"}, asked("lost"), True),
        ({"intent": "order", "min_confidence": 0.8}, asked("lost"), True),
        ({"intent": "order", "min_confidence": 0.81}, asked("lost"), False),
        ({"intent": ["order", "unknown"]}, asked("hello"), True),
        ({"intent": "unknown"}, asked("lost"), False),
        ({"any": [{"source": "app"}, {"keywords": "lost"}]}, asked("lost"), True),
        ({"any": [{"source": "app"}, {"keywords": "lost", "language": "zh"}]}, asked("lost"), False),
        ({"all": [{"source": "web"}, {"keywords": "lost"}]}, asked("lost"), True),
        ({"all": [{"source": "app"}, {"keywords": "lost"}]}, asked("lost"), False),
        ({"not": {"source": "app", "keywords": "lost"}}, asked("lost"), True),
        ({"not": {"source": "web", "keywords": "lost"}}, asked("lost"), False),
        ({"keywords": "lost", "not": {"intent": "order"}}, asked("lost"), False),
        ({"not": {"any": [{"not": {"source": "web"}}, {"tenant": "a"}]}}, asked(), True),
    ],
)
def test_a_condition_holds_for_what_it_asks_for(when: dict[str, Any], message: Asked, expected: bool) -> None:
    assert holds(when, message) is expected


@pytest.mark.parametrize(
    ("span", "moment", "expected"),
    [
        ({"from": "09:00", "to": "18:00"}, "2026-11-23 09:00", True),
        ({"from": "09:00", "to": "18:00"}, "2026-11-23 18:00", False),
        ({"from": "22:00", "to": "06:00"}, "2026-11-23 23:59", True),
        ({"from": "22:00", "to": "06:00"}, "2026-11-23 05:59", True),
        ({"from": "22:00", "to": "06:00"}, "2026-11-23 06:00", False),
        ({"from": "22:00", "to": "06:00", "days": "mon"}, "2026-11-24 05:00", True),
        ({"from": "22:00", "to": "06:00", "days": "mon"}, "2026-11-23 05:00", False),
        ({"days": ["sat", "sun"]}, "2026-11-22 12:00", True),
        ({"days": ["sat", "sun"]}, "2026-11-23 12:00", False),
        ({"from": "20:00"}, "2026-11-23 23:59", True),
        ({"to": "08:00"}, "2026-11-23 00:00", True),
    ],
)
@pytest.mark.parametrize("zone", ["UTC", "Asia/Shanghai", "America/St_Johns"])
def test_the_time_of_day_is_that_of_its_zone(
    span: dict[str, Any], moment: str, expected: bool, zone: str
) -> None:
    at = datetime.fromisoformat(moment).replace(tzinfo=ZoneInfo(zone)).timestamp()
    assert holds({"time": {"zone": zone, **span}}, asked(at=at)) is expected


def test_the_clock_of_a_zone_may_be_put_forward() -> None:
    """In Berlin, 02:30 did not exist on 29 March 2026."""
    before = datetime(2026, 3, 29, 1, 59, tzinfo=ZoneInfo("Europe/Berlin")).timestamp()
    two_to_three = {"time": {"zone": "Europe/Berlin", "from": "02:00", "to": "03:00"}}
    assert not holds(two_to_three, asked(at=before))
    assert not holds(two_to_three, asked(at=before + 60))
    assert holds({"time": {"zone": "Europe/Berlin", "from": "03:00"}}, asked(at=before + 60))


@given(st.integers(0, 4_000_000_000), st.integers(0, 1439), st.integers(0, 1439), st.sampled_from(DAYS))
def test_a_span_and_the_rest_of_the_day_are_all_day(at: int, start: int, end: int, day: str) -> None:
    clock = [f"{minute // 60:02}:{minute % 60:02}" for minute in (start, end)]
    if start == end:
        return
    within = {"time": {"zone": "Asia/Kolkata", "from": clock[0], "to": clock[1]}}
    without = {"time": {"zone": "Asia/Kolkata", "from": clock[1], "to": clock[0]}}
    assert holds(within, asked(at=at)) is not holds(without, asked(at=at))
    if holds({"time": {**within["time"], "days": day}}, asked(at=at)):
        assert holds(within, asked(at=at))


@pytest.mark.parametrize(
    ("text", "language"),
    [
        ("我想退货", "zh"),
        ("帮我查一下 order 2026110301 的 tracking number", "zh"),
        ("where is my package", "en"),
        ("laptop broken", "en"),
        ("my 订单 is still not here, what happened to it", "en"),
        ("注文した商品はいつ届きますか", "ja"),
        ("주문한 상품이 언제 오나요", "ko"),
        ("wo ist mein Paket und wann kommt es", "other"),
        ("où est mon colis", "other"),
        ("¿dónde está mi pedido?", "other"),
        ("где мой заказ", "other"),
        ("أين طلبي", "other"),
        ("12345 !!", "other"),
        ("", "other"),
    ],
)
def test_the_language_is_that_of_most_of_the_text(text: str, language: str) -> None:
    assert language_of(text) == language
    assert language_of(text.upper()) == language


@given(st.text(max_size=300))
def test_every_text_has_a_language_and_only_its_own_condition_holds(text: str) -> None:
    language = language_of(text)
    assert holds({"language": language}, asked(text))
    assert not holds({"not": {"language": language}}, asked(text))


CONDITIONS = st.recursive(
    st.sampled_from(
        [
            {"source": "web"},
            {"source": "app"},
            {"keywords": ["a", "订"]},
            {"pattern": "[0-9]"},
            {"length": {"max": 3}},
            {"language": ["en", "zh"]},
            {"intent": "order"},
        ]
    ),
    lambda inner: st.one_of(
        inner.map(lambda each: {"not": each}),
        st.lists(inner, min_size=1, max_size=3).map(lambda each: {"all": each}),
        st.lists(inner, min_size=1, max_size=3).map(lambda each: {"any": each}),
    ),
    max_leaves=6,
)


@given(CONDITIONS, CONDITIONS, st.sampled_from(["", "lost", "a1", "订单 99", "hello world"]))
def test_nested_conditions_follow_logic(one: dict[str, Any], other: dict[str, Any], text: str) -> None:
    message = asked(text)
    first, second = holds(one, message), holds(other, message)
    assert holds({"all": [one, other]}, message) is (first and second)
    assert holds({"any": [one, other]}, message) is (first or second)
    assert holds({"not": one}, message) is not first
    assert holds({"not": {"any": [one, other]}}, message) is (not first and not second)


def test_the_classifier_is_asked_once_a_batch_and_only_about_what_reaches_an_intent() -> None:
    classifier = Classifier(lost=Guess("order", 0.81234567))
    compiled = router({"keywords": "vip"}, {"intent": "order"}, {"intent": "unknown"}, classifier=classifier)
    decisions = compiled.decide_many([asked("vip"), asked("lost"), asked("what"), asked("vip lost")])
    assert classifier.asked == [["lost", "what"]]
    assert [(each.rule, each.confidence) for each in decisions if each] == [
        ("r0", 1.0),
        ("r1", 0.8123),
        ("r2", 0.2),
        ("r0", 1.0),
    ]


def test_no_batch_asks_the_classifier_without_need() -> None:
    classifier = Classifier()
    assert router({"keywords": "vip"}, classifier=classifier).decide_many([asked("x")])
    assert router({"intent": "order"}, classifier=classifier).decide_many([]) == []
    assert classifier.asked == []


@pytest.mark.parametrize(
    ("when", "text", "why"),
    [
        ({"intent": "order"}, "lost", "intent is order with confidence 0.80"),
        (
            {"intent": "order", "min_confidence": 0.9},
            "lost",
            "intent is order with confidence 0.80, below min_confidence 0.9",
        ),
        ({"intent": "unknown"}, "lost", "intent is order with confidence 0.80, not unknown"),
        ({"language": "zh"}, "lost", "language is en, not zh"),
        ({"length": {"max": 2}}, "lost", "the text has 4 characters, not 0 to 2"),
        ({"tenant": "acme"}, "lost", "the message names no tenant"),
        ({"not": {"keywords": "lost"}}, "lost", "excluded: keyword 'lost' is in the text"),
        ({"not": {"keywords": "x"}}, "lost", "not so: none of 1 keyword is in the text"),
        (
            {"any": [{"source": "app"}, {"keywords": "x"}]},
            "lost",
            "none of these holds: (source is web, not app); (none of 1 keyword is in the text)",
        ),
        ({"any": [{"source": "app"}, {"keywords": "lost"}]}, "lost", "keyword 'lost' is in the text"),
        (
            {"time": {"zone": "Asia/Shanghai", "from": "09:00", "to": "18:00"}},
            "",
            "it is thu 08:00 in Asia/Shanghai, not within 09:00 to 18:00",
        ),
    ],
)
def test_the_reasons_say_what_was_seen_and_what_was_wanted(when: dict[str, Any], text: str, why: str) -> None:
    assert router(when).explain(asked(text))[0].why == why
