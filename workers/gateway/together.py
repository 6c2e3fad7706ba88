"""Several subscriptions as one.

A group shares the partitions of all its topics out together, and may give one member those of one topic alone. A
gateway needs some of each, so that each topic has a group of its own.
"""

import asyncio
from collections.abc import Mapping, Sequence

from workers.core.deadlines import Deadline
from workers.core.ports import Listener, Subscription
from workers.core.records import Position, TopicPartition


class Together:
    """See `core.ports.Subscription`. One for each topic."""

    def __init__(self, by_topic: Mapping[str, Subscription]) -> None:
        self._by_topic = by_topic

    async def start(self, listener: Listener) -> None:
        """See `Subscription`."""
        for subscription in self._by_topic.values():
            await subscription.start(listener)

    def pause(self, partitions: Sequence[TopicPartition]) -> None:
        """See `Subscription`."""
        for topic, subscription in self._by_topic.items():
            subscription.pause([place for place in partitions if place.topic == topic])

    def resume(self, partitions: Sequence[TopicPartition]) -> None:
        """See `Subscription`."""
        for topic, subscription in self._by_topic.items():
            subscription.resume([place for place in partitions if place.topic == topic])

    async def commit(self, positions: Mapping[TopicPartition, Position]) -> None:
        """See `Subscription`."""
        for topic, subscription in self._by_topic.items():
            theirs = {place: position for place, position in positions.items() if place.topic == topic}
            if theirs:
                await subscription.commit(theirs)

    async def lag(self) -> Mapping[TopicPartition, int]:
        """See `Subscription`."""
        lags: dict[TopicPartition, int] = {}
        for subscription in self._by_topic.values():
            lags.update(await subscription.lag())
        return lags

    def positions(self) -> Mapping[TopicPartition, int]:
        """See `Subscription`."""
        return {place: at for each in self._by_topic.values() for place, at in each.positions().items()}

    async def close(self, deadline: Deadline) -> None:
        """See `Subscription`."""
        await asyncio.gather(*(subscription.close(deadline) for subscription in self._by_topic.values()))
