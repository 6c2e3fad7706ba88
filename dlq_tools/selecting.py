"""The letters that a spec selects: by position from Kafka, else through the index and then from Kafka."""

from collections.abc import AsyncIterator, Callable, Iterator, Mapping, Sequence
from pathlib import Path

from dlq_tools import where
from dlq_tools.filling import fetch_many, fill, open_index
from dlq_tools.index import Index
from dlq_tools.ledger_filling import fill_ledger
from dlq_tools.ledger_records import Letter, Spec
from dlq_tools.surroundings import Surroundings
from workers.core.errors import UsageError
from workers.core.records import Received, TopicPartition

_BATCH = 2000


class IndexSelection:
    """See `Selection`. The index of a topic is brought up to date once; `home` is where it is kept, with the ledger's."""

    def __init__(self, around: Surroundings, home: Path) -> None:
        self._admin = around.admin
        self._open_reader = around.open_reader
        self._clock = around.clock
        self._ledger = around.ledger.topic
        self._home = home
        self._filled: dict[str, Index] = {}

    async def count(
        self, spec: Spec, bounds: Mapping[TopicPartition, int], wanted: Callable[[Letter], bool]
    ) -> int:
        """See `Selection`."""
        total = 0
        async for topic, positions in self._positions(spec, bounds):
            total += sum(wanted(Letter(topic, *place)) for place in positions)
        return total

    async def letters(
        self, spec: Spec, bounds: Mapping[TopicPartition, int]
    ) -> AsyncIterator[Sequence[Received]]:
        """See `Selection`."""
        async for topic, positions in self._positions(spec, bounds):
            batch: list[Received] = []
            async for record in fetch_many(self._admin, self._open_reader, topic, positions):
                batch.append(record)
                if len(batch) >= _BATCH:
                    yield batch
                    batch = []
            if batch:
                yield batch

    async def _positions(
        self, spec: Spec, bounds: Mapping[TopicPartition, int]
    ) -> AsyncIterator[tuple[str, Iterator[tuple[int, int]]]]:
        """Each topic with the positions that are selected in it."""
        named = parse_positions(spec.positions)
        for topic in spec.topics:
            chosen = [(each.partition, each.offset) for each in named if each.topic == topic]
            if named and not chosen:
                continue
            positions: Iterator[tuple[int, int]] = iter(chosen)
            if not named or spec.where is not None:
                positions = await self._indexed(topic, spec, chosen or None)
            ends = {place.partition: end for place, end in bounds.items() if place.topic == topic}
            yield topic, (place for place in positions if place[1] < ends.get(place[0], 0))

    async def _indexed(
        self, topic: str, spec: Spec, chosen: list[tuple[int, int]] | None
    ) -> Iterator[tuple[int, int]]:
        condition = None if spec.where is None else where.parse(spec.where)
        index = self._filled.get(topic)
        if index is None:
            ledger = await fill_ledger(self._admin, self._open_reader, self._clock, self._home, self._ledger)
            index = await open_index(self._admin, self._home, topic, None if ledger is None else ledger.path)
            await fill(index, self._admin, self._open_reader)
            self._filled[topic] = index
        return index.select(condition, spec.since_ms, spec.until_ms, chosen).positions()


def parse_positions(texts: Sequence[str]) -> list[Letter]:
    """Read `TOPIC:PARTITION:OFFSET` each. Raises `UsageError` for one that isn't."""
    found = []
    for text in texts:
        letter = Letter.parse(text)
        if letter is None:
            raise UsageError(f"{text!r} is not TOPIC:PARTITION:OFFSET")
        found.append(letter)
    return found
