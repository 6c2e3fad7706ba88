"""What a changed topology changes, and what of it a running process can take over."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.unit.topology.support import topology
from workers.core.topology.change import changes_between, merged
from workers.core.topology.model import Topology

LLM = {"type": "openai", "instances": [{"url": "http://127.0.0.1:1/v1"}]}


def _llm(**extra: Any) -> Topology:
    return _with(targets={"llm": {**LLM, **extra}})


def _with(**extra: Any) -> Topology:
    return topology(**{"targets": {"llm": LLM}, **extra})


@pytest.mark.parametrize(
    ("new", "live", "restart"),
    [
        (_with(), (), ()),
        (_llm(timeout="5s"), ("targets.llm.timeout",), ()),
        (_llm(breaker={"probes": 9}), ("targets.llm.breaker.probes",), ()),
        (_llm(topic={"max_message_bytes": 10}), (), ("targets.llm.topic.max_message_bytes",)),
        (_llm(topic={"partitions": 10}), (), ()),
        (_with(kafka={"bootstrap": "other:9092"}), (), ("kafka.bootstrap",)),
        (_with(stores={"redis": "redis://h/1"}), (), ("stores.redis",)),
        (_with(once={"lease": "20s"}), (), ("once.lease",)),
        (_with(topics={"model_responses": {"name": "r"}}), (), ("topics.model_responses.name",)),
        (_with(topics={"defaults": {"retention": "1d"}}), (), ()),
    ],
)
def test_each_field_is_live_or_needs_a_restart(
    new: Topology, live: tuple[str, ...], restart: tuple[str, ...]
) -> None:
    changes = changes_between(_llm(), new)
    assert (changes.live, changes.restart) == (live, restart)


def test_targets_that_come_and_go_are_named() -> None:
    changes = changes_between(_llm(), _with(targets={"llm": LLM, "new": LLM}))
    assert (changes.live, changes.added, changes.removed) == (("targets.new",), ("new",), ())
    assert changes_between(_with(targets={"llm": LLM, "old": LLM}), _llm()).removed == ("old",)


def test_the_order_of_routes_counts() -> None:
    one, two = ({"name": name, "when": {"source": name}, "to": "llm"} for name in ("a", "b"))
    last = {"name": "default", "to": "llm"}
    changes = changes_between(_with(routes=[one, two, last]), _with(routes=[two, one, last]))
    assert changes.live == ("routes",)


POSSIBLE = [
    _llm(),
    _llm(timeout="1s"),
    _with(targets={"llm": LLM, "new": LLM}),
    _with(stores={"redis": "redis://h/1"}),
    _with(kafka={"bootstrap": "other:9092"}, routes=[{"name": "x", "to": "llm"}]),
    _llm(topic={"name": "elsewhere"}, timeout="2s"),
]


@given(st.sampled_from(POSSIBLE), st.sampled_from(POSSIBLE))
def test_what_is_taken_over_differs_from_the_file_in_nothing_but_what_needs_a_restart(
    old: Topology, new: Topology
) -> None:
    taken = merged(old, new)
    assert changes_between(old, taken).restart == ()
    assert changes_between(old, taken).live == changes_between(old, new).live
    assert changes_between(taken, new).live == ()
    assert changes_between(taken, new).restart == changes_between(old, new).restart
