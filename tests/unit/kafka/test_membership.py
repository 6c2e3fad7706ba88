"""How a member of a group is set up."""

from workers.kafka.membership import SubscriptionPolicy, member_config


def test_partitions_are_shared_out_topic_by_topic() -> None:
    """Else one worker gets the requests, and another the delay topics alone."""
    settings = member_config({}, "group", SubscriptionPolicy(), "consumer")
    assert settings["group.remote.assignor"] == "range"


def test_the_classic_protocol_moves_no_more_partitions_than_it_must() -> None:
    settings = member_config({}, "group", SubscriptionPolicy(), "classic")
    assert settings["partition.assignment.strategy"] == "cooperative-sticky"
    assert "group.remote.assignor" not in settings


def test_a_member_hears_soon_of_a_rebalance_however_long_its_session() -> None:
    settings = member_config({}, "group", SubscriptionPolicy(session_timeout=45), "classic")
    assert (settings["session.timeout.ms"], settings["heartbeat.interval.ms"]) == (45_000, 3_000)
    settings = member_config({}, "group", SubscriptionPolicy(session_timeout=6), "classic")
    assert settings["heartbeat.interval.ms"] == 2_000
