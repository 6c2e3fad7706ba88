"""The port `Reader` over a `MemoryBroker`."""

import asyncio
from collections.abc import Mapping, Sequence

from workers.core.records import Received, TopicPartition
from workers.kafka.memory import MemoryBroker

_STEP = 0.001  # seconds between two looks


class MemoryReader:
    """Reads from an offset for each partition, else from the end, or from the beginning."""

    def __init__(
        self,
        broker: MemoryBroker,
        topics: Sequence[str],
        start_at: Mapping[TopicPartition, int] | None = None,
        *,
        beginning: bool = False,
    ) -> None:
        self._broker = broker
        self._topics = topics
        self._start_at = {} if start_at is None else start_at
        self._beginning = beginning or start_at is not None
        self._next: dict[TopicPartition, int] = {}
        self._ends: dict[TopicPartition, int] = {}

    async def start(self) -> None:
        """See `Reader`."""
        for place in self._broker.partitions_of(self._topics):
            first, end = self._broker.firsts.get(place, 0), len(self._broker.logs[place])
            start = max(first, self._start_at.get(place, first)) if self._beginning else end
            self._next[place], self._ends[place] = min(start, end), end

    async def read(self, wait: float) -> Sequence[Received]:
        """See `Reader`."""
        found = self._take()
        for _ in range(int(wait / _STEP)):
            if found:
                break
            await asyncio.sleep(_STEP)
            found = self._take()
        return found

    @property
    def at_end(self) -> bool:
        """See `Reader`."""
        return all(self._next[place] >= end for place, end in self._ends.items())

    async def close(self) -> None:
        """See `Reader`."""

    def _take(self) -> list[Received]:
        found: list[Received] = []
        for place, start in self._next.items():
            log = self._broker.logs[place]
            found += log[start:]
            self._next[place] = len(log)
        return found
