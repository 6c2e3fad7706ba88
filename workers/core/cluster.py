"""What a change asks of the cluster: which topics are there, what is left in them, what was last said on the board.

A client is opened for each question: they are asked while something changes, and hardly ever else.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass

import structlog

from workers.core.clock import Clock
from workers.core.errors import NotYetError, UsageError
from workers.core.ports import Admin, Reader
from workers.core.records import Received, TopicPartition
from workers.core.topology.model import Topology
from workers.core.topology.names import Names
from workers.core.topology.topics import wanted_topics

log = structlog.get_logger()

_READ_WAIT = 0.2  # seconds


class TopicSizes(dict[str, int]):
    """How many bytes a record of each topic may have. Whoever holds it sees what a changed topology adds."""

    def follow(self, topology: Topology) -> None:
        """Learn the topics of a topology."""
        for topic in wanted_topics(topology):
            if (size := topic.config.get("max.message.bytes")) is not None:
                self[topic.name] = int(size)


@dataclass(frozen=True, slots=True)
class Cluster:
    """`reader` reads a topic from these offsets on."""

    admin: Callable[[], AbstractAsyncContextManager[Admin]]
    reader: Callable[[Sequence[str], Mapping[TopicPartition, int]], AbstractAsyncContextManager[Reader]]
    clock: Clock

    async def exists(self, topic: str) -> bool:
        """Whether there is such a topic."""
        async with self.admin() as admin:
            return topic in await admin.topics([topic])

    async def require(self, names: Iterable[str]) -> None:
        """Raise `NotYetError` that names the topics that do not exist."""
        wanted = sorted(set(names))
        async with self.admin() as admin:
            existing = await admin.topics(wanted)
        if missing := [name for name in wanted if name not in existing]:
            raise NotYetError(
                f"topics are missing: {', '.join(missing)}; a worker of the target creates them, or `relayfleet topology apply`"
            )

    async def create_missing(self, topology: Topology, names: Iterable[str]) -> None:
        """Create those of these topics that do not exist, as the topology describes them."""
        wanted = {topic.name: topic for topic in wanted_topics(topology)}
        asked = [wanted[name] for name in dict.fromkeys(names)]
        async with self.admin() as admin:
            existing = await admin.topics([topic.name for topic in asked])
            missing = [topic for topic in asked if topic.name not in existing]
            try:
                await admin.create(missing)
            except UsageError as error:  # another worker was faster, or Kafka does not let us
                existing = await admin.topics([topic.name for topic in asked])
                if any(topic.name not in existing for topic in asked):
                    raise NotYetError(str(error)) from error
        if missing:
            log.info("topics_created", topics=[topic.name for topic in missing])

    async def left(self, group: str, topics: Sequence[str]) -> int:
        """How many records of these topics the group has not finished."""
        async with self.admin() as admin:
            existing = await admin.topics(topics)
            ends = await admin.end_offsets([*existing])
            committed = await admin.committed(group)
        left = 0
        for place, (first, end) in ends.items():
            position = committed.get(place)
            left += max(0, end - max(first, position.offset if position is not None else first))
        return left

    async def recent(self, topic: str, milliseconds: int) -> list[Received]:
        """The topic's records from the last so many milliseconds. Raises `NotYetError` where there is no such topic."""
        since = round(self.clock.wall() * 1000) - milliseconds
        if not await self.exists(topic):
            raise NotYetError(f"there is no topic {topic}; `relayfleet topology apply` creates it")
        async with self.admin() as admin:
            found = await admin.offsets_at([topic], since)
        starts = {place: at[0] for place, at in found.items() if at is not None}
        if not starts:
            return []
        records: list[Received] = []
        async with self.reader([topic], starts) as reader:
            while not reader.at_end:
                records += await reader.read(_READ_WAIT)
        return [record for record in records if record.timestamp_ms >= since]


def written_topics(topology: Topology, target: str) -> list[str]:
    """What the workers of a target write to."""
    names = Names(topology)
    fallbacks = [names.target(other) for other in topology.targets[target].fallback]
    return [names.responses, names.chunks, names.dead_letters, names.logs, names.shadow, *fallbacks]
