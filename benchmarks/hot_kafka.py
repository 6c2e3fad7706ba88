"""Kafka as the hot paths see it, with nothing behind it: all is delivered at once, and read when it is given."""

import asyncio
from collections.abc import Mapping, Sequence

from workers.core.deadlines import Deadline
from workers.core.ports import Listener
from workers.core.records import Outgoing, Position, TopicPartition


class Publisher:
    """Delivers everything at the next turn of the loop."""

    def __init__(self) -> None:
        self.delivered = 0

    def deliver(self, records: Sequence[Outgoing]) -> "asyncio.Future[None]":
        """See `core.ports.Publisher`."""
        self.delivered += len(records)
        loop = asyncio.get_running_loop()
        done: asyncio.Future[None] = loop.create_future()
        loop.call_soon(done.set_result, None)
        return done

    def post(self, record: Outgoing) -> None:
        """See `core.ports.Publisher`."""

    async def close(self, deadline: Deadline) -> int:
        """See `core.ports.Publisher`."""
        return 0


class Subscription:
    """Has these partitions, and what its listener is given."""

    listener: Listener

    def __init__(self, assigned: Mapping[TopicPartition, Position | None]) -> None:
        self._assigned = assigned

    async def start(self, listener: Listener) -> None:
        """See `core.ports.Subscription`."""
        self.listener = listener
        listener.assigned(self._assigned)

    def pause(self, partitions: Sequence[TopicPartition]) -> None:
        """See `core.ports.Subscription`."""

    def resume(self, partitions: Sequence[TopicPartition]) -> None:
        """See `core.ports.Subscription`."""

    async def commit(self, positions: Mapping[TopicPartition, Position]) -> None:
        """See `core.ports.Subscription`."""

    async def lag(self) -> Mapping[TopicPartition, int]:
        """See `core.ports.Subscription`."""
        return {}

    def positions(self) -> Mapping[TopicPartition, int]:
        """See `core.ports.Subscription`."""
        return {}

    async def close(self, deadline: Deadline) -> None:
        """See `core.ports.Subscription`."""
