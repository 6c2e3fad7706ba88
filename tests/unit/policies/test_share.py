"""Canaries and shadows: a share of the keys, the same for good."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from schemas.envelope import Payload, Request
from tests.unit.topology.support import topology
from workers.policies.route import Decision, Router, compile_routes
from workers.policies.share import Share, key_of
from workers.policies.subject import Asked

LLM = {"type": "openai", "instances": [{"url": "http://127.0.0.1:1/v1"}]}
KEYS = [f"user-{number}".encode() for number in range(20_000)]
PERCENT = st.floats(min_value=0.01, max_value=100)
# Of 20,000 keys, a share is further than this from what was asked once in a billion times.
TOLERANCE = 0.022


def router(**route: Any) -> Router:
    targets = dict.fromkeys(("llm", "new", "other"), LLM)
    return compile_routes(topology(routes=[{"name": "default", "to": "llm", **route}], targets=targets))


def asked(key: bytes | None = None, **payload: Any) -> Asked:
    request = Request(
        message_id="m",
        source="web",
        payload=Payload.model_validate({"text": "hello", **payload}),
        timestamp=0,
    )
    return Asked(request, key=key)


def decision(routes: Router, key: bytes) -> Decision:
    (decided,) = routes.decide_many([asked(key)])
    assert decided is not None
    return decided


@given(PERCENT, st.text(min_size=1, max_size=20))
def test_the_share_of_the_keys_is_what_was_asked_for(percent: float, name: str) -> None:
    share = Share.of("new", percent, name, "canary")
    assert sum(map(share.takes, KEYS)) / len(KEYS) == pytest.approx(percent / 100, abs=TOLERANCE)


@given(PERCENT, PERCENT, st.binary(max_size=200))
def test_a_key_stays_where_it_is_when_the_share_grows(one: float, two: float, key: bytes) -> None:
    small, large = sorted((one, two))
    if Share.of("new", small, "r", "canary").takes(key):
        assert Share.of("new", large, "r", "canary").takes(key)


@given(st.binary(max_size=200))
def test_all_keys_are_a_hundred_percent(key: bytes) -> None:
    assert Share.of("new", 100, "r", "canary").takes(key)


def test_two_routes_and_two_ends_choose_independently() -> None:
    shares = [Share.of("new", 50, name, end) for name in ("a", "b") for end in ("canary", "shadow")]
    chosen = [tuple(share.takes(key) for share in shares) for key in KEYS]
    assert sum(all(each) for each in chosen) / len(KEYS) == pytest.approx(1 / 16, abs=TOLERANCE)


def test_a_key_that_was_chosen_once_is_chosen_by_every_later_release() -> None:
    share = Share.of("new", 5, "default", "canary")
    assert [key for key in KEYS[:200] if share.takes(key)] == [
        b"user-47",
        b"user-51",
        b"user-63",
        b"user-133",
        b"user-141",
        b"user-155",
        b"user-182",
        b"user-197",
    ]


def test_a_canary_takes_its_keys_and_the_route_the_others() -> None:
    routes = router(canary={"to": "new", "percent": 20})
    targets = [decision(routes, key).target for key in KEYS]
    assert targets.count("new") / len(KEYS) == pytest.approx(0.2, abs=TOLERANCE)
    assert targets.count("new") + targets.count("llm") == len(KEYS)
    assert targets == [decision(routes, key).target for key in KEYS]


def test_a_shadow_changes_nothing_for_the_message_itself() -> None:
    routes = router(shadow={"to": "new", "percent": 30})
    decisions = [decision(routes, key) for key in KEYS]
    assert {each.target for each in decisions} == {"llm"}
    assert sum(each.shadow == "new" for each in decisions) / len(KEYS) == pytest.approx(0.3, abs=TOLERANCE)


def test_a_shadow_named_alone_gets_everything() -> None:
    assert decision(router(shadow="new"), b"k") == Decision("llm", "default", shadow="new")


def test_who_answers_as_a_canary_gets_no_copy() -> None:
    routes = router(canary={"to": "new", "percent": 100}, shadow="new")
    assert decision(routes, b"k") == Decision("new", "default")


def test_the_key_is_the_records_else_what_the_router_would_give_it() -> None:
    assert key_of(asked(b"record")) == b"record"
    assert key_of(asked(session_id="s", user_id="u")) == b"s"
    assert key_of(asked(user_id="u")) == b"u"
    assert key_of(asked()) == b"m"
