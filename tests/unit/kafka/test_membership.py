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
