"""How a member of a consumer group is set up."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

Protocol = Literal["consumer", "classic"]

_HEARTBEAT = 3.0  # seconds at most


@dataclass(frozen=True, slots=True)
class SubscriptionPolicy:
    """Times are seconds.

    `protocol` `auto` joins with KIP-848's protocol and falls back to the classic one, cooperative-sticky, where the
    broker does not know it. `instance_id` makes the membership static: a restart within the session timeout moves no
    partition. `session_timeout` is the classic protocol's; with the new one the broker's
    `group.consumer.session.timeout.ms` holds. `revoke_timeout` bounds the wait for `Listener.revoked`: a listener
    that takes longer commits nothing for these partitions, and their next owner does the work again.
    """

    protocol: Literal["auto", "consumer", "classic"] = "auto"
    start_at: Literal["earliest", "latest"] = "earliest"
    instance_id: str | None = None
    session_timeout: float = 10.0
    max_poll_interval: float = 300.0
    revoke_timeout: float = 30.0
    commit_timeout: float = 10.0
    assign_timeout: float = 60.0
    max_ahead: int = 10_000  # records polled and not yet taken by the event loop


def member_config(
    config: Mapping[str, object], group: str, policy: SubscriptionPolicy, protocol: Protocol
) -> dict[str, object]:
    """librdkafka's settings for a member of `group`."""
    settings: dict[str, object] = {
        # Decompressing and checking runs in the client's threads; what is corrupt is fetched again, not delivered.
        "check.crcs": True,
        # What is prefetched is memory, for each partition; beyond this nothing gets faster.
        "queued.min.messages": 5000,
        "queued.max.messages.kbytes": 4096,
        "fetch.wait.max.ms": 100,
        # A full queue is looked at again after this; the default of a second starves a fast reader.
        "fetch.queue.backoff.ms": 5,
        "socket.timeout.ms": 15_000,
        **config,
        "group.id": group,
        "group.protocol": protocol,
        "enable.auto.commit": False,
        "enable.auto.offset.store": False,
        # Behind a transaction the last record is not the end: only this tells that nothing is left to read.
        "enable.partition.eof": True,
        "auto.offset.reset": policy.start_at,
        "max.poll.interval.ms": int(policy.max_poll_interval * 1000),
    }
    if protocol == "consumer":
        # Topic by topic. The broker's default evens out numbers over all topics: one worker then gets the requests and
        # another the delay topics, which hold next to nothing.
        settings["group.remote.assignor"] = "range"
    if protocol == "classic":
        settings["partition.assignment.strategy"] = "cooperative-sticky"
        settings["session.timeout.ms"] = int(policy.session_timeout * 1000)
        # A member hears of a rebalance with its heartbeats.
        settings["heartbeat.interval.ms"] = int(min(policy.session_timeout / 3, _HEARTBEAT) * 1000)
    if policy.instance_id is not None:
        settings["group.instance.id"] = policy.instance_id
    return settings
