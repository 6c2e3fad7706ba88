"""The topics that follow from a topology."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.unit.topology.support import topology
from workers.core.ports import TopicState
from workers.core.topology.delays import LADDER, retry_delays
from workers.core.topology.model import OpenAITarget
from workers.core.topology.topics import HEADER_ROOM, wanted_topics

LLM = {"type": "openai", "instances": [{"url": "http://127.0.0.1:8091/v1"}]}


def by_name(**extra: Any) -> dict[str, TopicState]:
    return {topic.name: topic for topic in wanted_topics(topology(**extra))}


def with_retry(**retry: Any) -> OpenAITarget:
    return OpenAITarget.model_validate({**LLM, "retry": retry})


def test_a_deployment_has_every_topic_of_the_contract() -> None:
    assert list(by_name()) == [
        "model_requests",
        "model_requests.llm",
        "model_requests.llm.retry.15s",
        "model_requests.llm.retry.1m",
        "model_responses",
        "model_chunks",
        "dlq.model_requests",
        "dead_letter_ledger",
        "fleet_logs",
        "model_shadow",
        "fleet_state",
    ]


def test_targets_and_dead_letters_take_the_partitions_of_the_requests() -> None:
    topics = by_name(topics={"model_requests": {"partitions": 12}})

    assert {name: topic.partitions for name, topic in topics.items() if topic.partitions != 4} == {
        "model_requests": 12,
        "model_requests.llm": 12,
        "model_requests.llm.retry.15s": 12,
        "model_requests.llm.retry.1m": 12,
        "dlq.model_requests": 12,
        "dead_letter_ledger": 1,
        "fleet_state": 1,
    }


def test_dead_letters_have_as_many_partitions_as_their_widest_source() -> None:
    wide = {**LLM, "topic": {"partitions": 30}}

    assert by_name(targets={"llm": LLM, "wide": wide})["dlq.model_requests"].partitions == 30


def test_each_topic_further_on_has_room_for_the_headers() -> None:
    sizes = {name: int(topic.config["max.message.bytes"]) for name, topic in by_name().items()}

    assert sizes["model_requests.llm"] == sizes["model_requests"] + HEADER_ROOM
    assert sizes["model_requests.llm.retry.1m"] == sizes["model_requests.llm"]
    assert sizes["dlq.model_requests"] == sizes["model_requests.llm"] + HEADER_ROOM


def test_a_target_with_room_of_its_own_is_outdone_by_the_dead_letters() -> None:
    roomy = {**LLM, "topic": {"max_message_bytes": "5MB"}}

    assert by_name(targets={"llm": roomy})["dlq.model_requests"].config["max.message.bytes"] == "5008192"


def test_retention_is_short_for_chunks_and_logs_and_long_for_dead_letters() -> None:
    days = {
        name: int(topic.config["retention.ms"]) / 86_400_000
        for name, topic in by_name().items()
        if "retention.ms" in topic.config
    }

    assert (days["model_requests"], days["fleet_logs"], days["dlq.model_requests"]) == (7, 3, 30)
    assert days["model_chunks"] == pytest.approx(1 / 24)


def test_a_retention_below_kafkas_segment_time_closes_segments_earlier() -> None:
    topics = by_name(topics={"defaults": {"retention": "2h"}})

    assert topics["model_requests"].config["segment.ms"] == str(30 * 60_000)
    assert "segment.ms" not in by_name()["model_requests"].config
    assert topics["dlq.model_requests"].config["retention.ms"] == str(30 * 86_400_000)


def test_the_ledger_is_compacted_and_nothing_else_is() -> None:
    policies = {name: topic.config["cleanup.policy"] for name, topic in by_name().items()}

    assert policies.pop("dead_letter_ledger") == "compact"
    assert set(policies.values()) == {"delete"}
    assert "retention.ms" not in by_name()["dead_letter_ledger"].config


@pytest.mark.parametrize(("replication", "in_sync"), [(1, None), (2, None), (3, "2"), (4, "3"), (5, "3")])
def test_a_majority_acknowledges_where_there_are_three_replicas(
    replication: int, in_sync: str | None
) -> None:
    topics = by_name(topics={"defaults": {"replication": replication}})

    assert {topic.replication for topic in topics.values()} == {replication}
    assert {topic.config.get("min.insync.replicas") for topic in topics.values()} == {in_sync}


def test_a_topic_of_another_name_takes_its_derived_ones_along() -> None:
    names = by_name(topics={"model_requests": {"name": "shop.requests"}})

    assert {
        "shop.requests",
        "shop.requests.llm",
        "shop.requests.llm.retry.1m",
        "dlq.shop.requests",
    } <= names.keys()


@pytest.mark.parametrize(
    ("retry", "labels"),
    [
        ({}, ["15s", "1m"]),
        ({"max": "40s"}, ["15s", "1m"]),
        ({"max": "61s"}, ["15s", "1m", "5m"]),
        ({"max": "10s"}, ["15s"]),
        ({"max": "2h"}, ["15s", "1m", "5m", "15m", "1h"]),
        ({"max": "15m", "hold_up_to": "15s"}, ["1m", "5m", "15m"]),
        ({"max": "1m", "hold_up_to": "1m"}, []),
    ],
)
def test_delays_go_from_what_is_held_to_what_covers_the_longest_wait(
    retry: dict[str, Any], labels: list[str]
) -> None:
    assert [label for label, _ in retry_delays(with_retry(**retry))] == labels


@given(st.floats(1, 20_000), st.floats(0, 20_000))
def test_a_wait_too_long_for_memory_has_a_topic_up_to_the_ladders_end(longest: float, held: float) -> None:
    delays = [seconds for _, seconds in retry_delays(with_retry(max=longest, hold_up_to=held))]

    assert delays == sorted(delays)
    assert all(seconds > held for seconds in delays)
    if held < longest:
        assert delays[-1:] == [max(delays)] if delays else held >= LADDER[-1][1]
        assert not delays or delays[-1] >= min(longest, LADDER[-1][1])
