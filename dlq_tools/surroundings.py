"""What the commands that change something need of the world."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from typing import Protocol

from dlq_tools.ledger import Ledger
from dlq_tools.ledger_records import Letter, Spec
from workers.core.clock import Clock
from workers.core.ports import Admin, Publisher, Reader
from workers.core.records import Received, TopicPartition

OpenReader = Callable[[Sequence[str], Mapping[TopicPartition, int]], AbstractAsyncContextManager[Reader]]
"""A started reader of these topics, from these offsets."""


class Selection(Protocol):
    """Finds letters."""

    async def count(
        self, spec: Spec, bounds: Mapping[TopicPartition, int], wanted: Callable[[Letter], bool]
    ) -> int:
        """How many of the letters that a spec selects are wanted, without reading them. Raises as `letters` does."""

    def letters(self, spec: Spec, bounds: Mapping[TopicPartition, int]) -> AsyncIterator[Sequence[Received]]:
        """The letters that a spec selects, all below these offsets, a handful at a time and the same order always.

        Raises `UsageError` for a condition that can't be read.
        """


@dataclass(frozen=True, slots=True)
class Surroundings:
    """Kafka, the ledger, and time."""

    ledger: Ledger
    publisher: Publisher
    admin: Admin
    open_reader: OpenReader
    clock: Clock
    sleep: Callable[[float], Awaitable[None]] = asyncio.sleep

    async def ends(self, topics: Sequence[str]) -> dict[TopicPartition, int]:
        """The next offset of every partition of these topics."""
        offsets = await self.admin.end_offsets(topics)
        return {place: end for place, (_, end) in offsets.items()}
