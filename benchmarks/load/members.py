"""Who of a consumer group reads which partitions."""

import time
from collections.abc import Callable, Mapping, Sequence

from confluent_kafka import KafkaException
from confluent_kafka.admin import AdminClient

from workers.core.errors import UnreachableError

Shares = Mapping[str, Sequence[int]]
"""A topic's partitions by member of the group."""
_AGAIN = 0.5  # seconds between two looks


def shares(admin: AdminClient, group: str, topic: str) -> Shares:
    """What each member has of the topic. Raises `KafkaException` where the group can't be asked."""
    described = admin.describe_consumer_groups([group], request_timeout=5)[group].result(timeout=10)
    return {
        member.member_id: sorted(
            place.partition
            for place in (member.assignment.topic_partitions if member.assignment else ())
            if place.topic == topic
        )
        for member in described.members
    }


def shared_out(found: Shares, members: int, partitions: int) -> bool:
    """Whether so many members are there, each has something, and together they have every partition once."""
    held = sorted(number for numbers in found.values() for number in numbers)
    return len(found) == members and all(found.values()) and held == list(range(partitions))


def until_shared_out(look: Callable[[], Shares], members: int, partitions: int, within: float) -> Shares:
    """Wait until the group says the same twice in a row, and all is shared out; returns who has what.

    Partitions move at the members' heartbeats: the first member gives its own up at one, and the others get them at
    the next. Raises `UnreachableError` after `within` seconds.
    """
    until = time.monotonic() + within
    last, why = None, None
    while True:  # once at least, however long that took
        try:
            found = look()
        except KafkaException as error:  # its coordinator moves or starts
            last, why = None, error
        else:
            if found == last and shared_out(found, members, partitions):
                return found
            last, why = found, None
        if time.monotonic() >= until:
            break
        time.sleep(_AGAIN)
    raise UnreachableError(
        f"{partitions} partitions were not shared out among {members} members within {within:g} s: "
        f"{why or sorted(map(list, (last or {}).values()))}; do all of them run, and read this topic?"
    )
