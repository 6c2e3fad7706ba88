"""What changes for a topology, and what is left alone because records would be lost."""

from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.unit.topology.support import topology
from workers.core.ports import TopicState
from workers.core.topology.difference import Configure, Create, Difference, Grow, apply, difference
from workers.core.topology.topics import wanted_topics
from workers.kafka.memory import MemoryBroker

DAY = 86_400_000
WANTED = TopicState("t", 4, 1, {"cleanup.policy": "delete", "retention.ms": str(7 * DAY)})


def against(**found: Any) -> Difference:
    return difference([WANTED], {"t": replace(WANTED, **found)})


def test_a_missing_topic_is_created() -> None:
    assert difference([WANTED], {}) == Difference((Create(WANTED),), ())


def test_a_topic_as_wanted_is_no_difference() -> None:
    assert not against().differs


def test_more_settings_than_ours_are_left_alone() -> None:
    assert not against(config={**WANTED.config, "compression.type": "zstd"}).differs


def test_partitions_are_added() -> None:
    assert against(partitions=2).actions == (Grow("t", 4, 2),)


def test_partitions_are_never_taken_away() -> None:
    found = against(partitions=6)

    assert (found.actions, found.differs) == ((), True)
    assert "it has 6 partitions, 4 are wanted" in found.refusals[0].message


def test_replication_is_said_and_not_changed() -> None:
    found = against(replication=3)

    assert found.actions == ()
    assert "its replication is 3, 1 is wanted" in found.refusals[0].message


def test_a_value_that_is_not_set_or_differs_is_configured() -> None:
    assert against(config={"retention.ms": str(DAY)}).actions == (
        Configure("t", WANTED.config, {"retention.ms": str(DAY)}),
    )


@pytest.mark.parametrize(
    "config",
    [
        {"cleanup.policy": "delete", "retention.ms": str(8 * DAY)},
        {"cleanup.policy": "delete", "retention.ms": "-1"},
        {"cleanup.policy": "compact", "retention.ms": str(7 * DAY)},
    ],
)
def test_a_setting_that_would_delete_records_is_refused(config: dict[str, str]) -> None:
    found = against(config=config)

    assert found.actions == ()
    assert "that would delete records" in found.refusals[0].message
    assert "kafka-configs" in found.refusals[0].instead


def test_kafkas_own_week_counts_where_a_topic_has_no_retention() -> None:
    wanted = replace(WANTED, config={"retention.ms": str(6 * DAY)})

    assert difference([wanted], {"t": replace(WANTED, config={})}).actions == ()


def test_a_refused_setting_does_not_hold_up_the_others() -> None:
    wanted = replace(WANTED, config={**WANTED.config, "max.message.bytes": "9"})

    found = difference([wanted], {"t": replace(WANTED, config={**WANTED.config, "retention.ms": "-1"})})

    assert found.actions == (Configure("t", {"max.message.bytes": "9"}, {}),)
    assert len(found.refusals) == 1


def test_actions_come_in_the_order_create_grow_configure() -> None:
    other = replace(WANTED, name="a")
    existing = {"a": replace(other, partitions=1, config={"cleanup.policy": "delete"})}

    assert [type(action) for action in difference([other, WANTED], existing).actions] == [
        Create,
        Grow,
        Configure,
    ]


def test_a_topic_of_a_target_that_is_gone_is_named_and_not_touched() -> None:
    existing = {"t": WANTED, "t.gone": WANTED, "elsewhere": WANTED}

    assert difference([WANTED], existing) == Difference((), (), ("t.gone",))


state = st.builds(
    TopicState,
    st.sampled_from(["model_requests", "model_responses", "fleet_logs", "dlq.model_requests", "other"]),
    st.integers(1, 8),
    st.integers(1, 3),
    st.fixed_dictionaries(
        {},
        optional={
            "retention.ms": st.sampled_from(["-1", "1000", str(40 * DAY)]),
            "cleanup.policy": st.sampled_from(["delete", "compact"]),
            "max.message.bytes": st.sampled_from(["1000", "1048588"]),
        },
    ),
)


@given(st.lists(state, unique_by=lambda each: each.name))
async def test_applied_once_only_what_is_refused_is_left_and_nothing_was_taken(
    states: list[TopicState],
) -> None:
    broker = MemoryBroker()
    for each in states:
        broker.create(each)
    wanted, admin = wanted_topics(topology()), broker.admin()
    before = dict(await admin.topics())

    first = difference(wanted, before)
    await apply(first.actions, admin)

    after = await admin.topics()
    again = difference(wanted, after)
    assert again.actions == ()
    assert again.refusals == first.refusals
    assert before.keys() <= after.keys()
    assert all(after[name].partitions >= found.partitions for name, found in before.items())
    assert after.get("other") == before.get("other")
