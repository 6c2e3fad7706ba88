"""Groups and subscriptions of the in-memory broker: assignment, rebalances, positions."""

import asyncio
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from workers.core.deadlines import Deadline
from workers.core.ports import Listener
from workers.core.records import Position, Received, TopicPartition

if TYPE_CHECKING:
    from workers.kafka.memory import MemoryBroker

_BATCH = 500


class MemoryGroup:
    """Members, who owns which partition, and what is committed."""

    def __init__(self, name: str, broker: "MemoryBroker") -> None:
        self.name = name
        self.committed: dict[TopicPartition, Position] = {}
        self._broker = broker
        self._members: list[MemorySubscription] = []
        self._moving = asyncio.Lock()
        self._tasks: set[asyncio.Task[None]] = set()

    @property
    def members(self) -> Sequence["MemorySubscription"]:
        """The members, in the order in which they joined."""
        return tuple(self._members)

    def join(self, member: "MemorySubscription") -> None:
        """Take a member in and share the partitions out again."""
        self._members.append(member)
        self.rebalance()

    def leave(self, member: "MemorySubscription") -> None:
        """Let a member go; its partitions go to the others."""
        if member in self._members:
            self._members.remove(member)
            self.rebalance()

    def rebalance(self) -> None:
        """Share the partitions out, in a task: first every revocation, then every assignment."""
        task = asyncio.get_running_loop().create_task(self._rebalance())
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    def wake(self, place: TopicPartition) -> None:
        """Records came into this partition."""
        for member in self._members:
            member.wake(place)

    async def _rebalance(self) -> None:
        async with self._moving:
            wanted = self._share()
            for member in list(self._members):
                gone = [place for place in member.owned if place not in wanted[member]]
                if gone:
                    await member.revoke(gone)
            for member in list(self._members):
                new = [place for place in wanted[member] if place not in member.owned]
                if new and member in self._members:
                    member.assign(new)

    def _share(self) -> dict["MemorySubscription", list[TopicPartition]]:
        shares: dict[MemorySubscription, list[TopicPartition]] = {member: [] for member in self._members}
        for topic in sorted({topic for member in self._members for topic in member.topics}):
            readers = [member for member in self._members if topic in member.topics]
            for number, place in enumerate(self._broker.partitions_of([topic])):
                shares[readers[number % len(readers)]].append(place)
        return shares


class MemorySubscription:
    """The port `Subscription` over a `MemoryBroker`.

    Records come at the next turn of the event loop. As from the real broker, some may still come after `pause`:
    those of the batch that is being delivered.
    """

    def __init__(self, broker: "MemoryBroker", group: MemoryGroup, topics: Sequence[str]) -> None:
        self.topics = tuple(topics)
        self.owned: dict[TopicPartition, int] = {}  # the next offset to deliver
        self.paused: set[TopicPartition] = set()
        self._broker = broker
        self._group = group
        self._listener: Listener | None = None
        self._woken = False
        self._leaving: set[TopicPartition] = set()

    async def start(self, listener: Listener) -> None:
        """See `Subscription`."""
        self._listener = listener
        self._group.join(self)

    def pause(self, partitions: Sequence[TopicPartition]) -> None:
        """See `Subscription`."""
        self.paused.update(place for place in partitions if place in self.owned)

    def resume(self, partitions: Sequence[TopicPartition]) -> None:
        """See `Subscription`."""
        self.paused.difference_update(partitions)
        self._wake()

    async def commit(self, positions: Mapping[TopicPartition, Position]) -> None:
        """See `Subscription`."""
        failure = self._broker.take_commit_failure()
        if failure is not None:
            raise failure
        self._group.committed |= {
            place: position for place, position in positions.items() if place in self.owned
        }

    async def lag(self) -> Mapping[TopicPartition, int]:
        """See `Subscription`."""
        return {place: len(self._broker.logs[place]) - offset for place, offset in self.owned.items()}

    def positions(self) -> Mapping[TopicPartition, int]:
        """See `Subscription`."""
        return dict(self.owned)

    async def close(self, deadline: Deadline) -> None:
        """See `Subscription`."""
        self._listener = None
        self.owned.clear()
        self._group.leave(self)

    async def revoke(self, partitions: Sequence[TopicPartition]) -> None:
        """Take partitions away as a rebalance does: the listener is asked, its positions are committed."""
        if self._listener is None:
            return
        self._leaving.update(partitions)
        positions = await self._listener.revoked(partitions)
        mine = {place: position for place, position in positions.items() if place in self.owned}
        self._group.committed |= {place: mine[place] for place in partitions if place in mine}
        self._forget(partitions)

    def lose(self, partitions: Sequence[TopicPartition]) -> None:
        """Take partitions away as a broker does that gave us up: too late for anything."""
        self._forget(partitions)
        if self._listener is not None:
            self._listener.lost(partitions)

    def assign(self, partitions: Sequence[TopicPartition]) -> None:
        """Give partitions to this member, each from where the group stands."""
        if self._listener is None:
            return
        positions = {place: self._group.committed.get(place) for place in partitions}
        self.owned |= {place: at.offset if at is not None else 0 for place, at in positions.items()}
        self._listener.assigned(positions)
        self._wake()

    def fail(self, error: BaseException) -> None:
        """End the subscription as a fatal client error does."""
        listener, self._listener = self._listener, None
        if listener is not None:
            listener.failed(error)

    def wake(self, place: TopicPartition) -> None:
        """Records came into this partition."""
        if place in self.owned:
            self._wake()

    def _forget(self, partitions: Sequence[TopicPartition]) -> None:
        for place in partitions:
            self.owned.pop(place, None)
            self.paused.discard(place)
            self._leaving.discard(place)

    def _wake(self) -> None:
        if not self._woken:
            self._woken = True
            asyncio.get_running_loop().call_soon(self._deliver)

    def _deliver(self) -> None:
        self._woken = False
        batch: list[Received] = []
        for place, offset in self.owned.items():
            if place not in self.paused and place not in self._leaving:
                records = self._broker.logs[place][offset : offset + _BATCH]
                self.owned[place] = offset + len(records)
                batch += records
        if batch and self._listener is not None:
            self._listener.records(batch)
            self._wake()
