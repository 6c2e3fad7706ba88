"""Filling an index from Kafka, and taking records from Kafka again."""

from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from dlq_tools.filling import OpenReader, fetch, fetch_many, fill, open_index
from dlq_tools.index import Index
from tests.unit.dlq.letters import TOPIC, ours
from workers.core.errors import UnreachableError, UsageError
from workers.core.ports import Reader, TopicState
from workers.core.records import Outgoing, Received, TopicPartition
from workers.kafka.memory import MemoryBroker
from workers.kafka.memory_reader import MemoryReader


class Kafka:
    """A broker with one dead-letter topic of two partitions; counts what readers were asked for."""

    def __init__(self) -> None:
        self.broker = MemoryBroker(partitions=2)
        self.admin = self.broker.admin()
        self.broker.create(TopicState(TOPIC, 2, 1, {}))
        self.read: list[Received] = []
        self.dies_after: int | None = None
        self.batch = 1
        self.late: tuple[int, ...] = ()  # letters that come between the look at the offsets and the reading

    def add(self, *numbers: int, partition: int = 0) -> None:
        """Letters with these numbers as their ids."""
        for number in numbers:
            letter = ours(number)
            self.broker.append(
                Outgoing(TOPIC, letter.key, letter.value, letter.headers, partition, letter.timestamp_ms)
            )

    @property
    def open_reader(self) -> OpenReader:
        @asynccontextmanager
        async def opened(
            topics: Sequence[str], starts: Mapping[TopicPartition, int]
        ) -> AsyncIterator[Reader]:
            self.add(*self.late)
            reader = CountingReader(self, MemoryReader(self.broker, topics, starts))
            await reader.start()
            yield reader
            await reader.close()

        return opened

    async def fill(self, index: Index) -> int:
        """Bring the index up to date."""
        return await fill(index, self.admin, self.open_reader)


class CountingReader:
    """A reader that hands out so many records at a time, and goes away when it is told to."""

    def __init__(self, kafka: Kafka, reader: MemoryReader) -> None:
        self._kafka = kafka
        self._reader = reader
        self._waiting: list[Received] = []

    async def start(self) -> None:
        await self._reader.start()

    async def read(self, wait: float) -> Sequence[Received]:
        if self._kafka.dies_after is not None and len(self._kafka.read) >= self._kafka.dies_after:
            raise UnreachableError("the broker went away")
        if not self._waiting:
            self._waiting = list(await self._reader.read(0.0))
        size = self._kafka.batch
        batch, self._waiting = self._waiting[:size], self._waiting[size:]
        self._kafka.read += batch
        return batch

    @property
    def at_end(self) -> bool:
        return self._reader.at_end and not self._waiting

    async def close(self) -> None:
        await self._reader.close()


@pytest.fixture
def kafka() -> Kafka:
    return Kafka()


async def test_a_second_look_reads_only_what_is_new(kafka: Kafka, tmp_path: Path) -> None:
    kafka.add(0, 1, 2)
    kafka.add(3, partition=1)
    index = await open_index(kafka.admin, tmp_path, TOPIC)
    assert await kafka.fill(index) == 4
    kafka.add(4)
    assert await kafka.fill(await open_index(kafka.admin, tmp_path, TOPIC)) == 1
    assert len(kafka.read) == 5
    assert await kafka.fill(index) == 0
    assert len(kafka.read) == 5
    ids = [letter.message_id for letter in index.select()]
    assert ids == ["req_0", "req_1", "req_2", "req_4", "req_3"]


async def test_the_index_knows_what_was_purged(kafka: Kafka, tmp_path: Path) -> None:
    kafka.add(*range(6))
    index = await open_index(kafka.admin, tmp_path, TOPIC)
    await kafka.fill(index)
    await kafka.admin.delete_before({TopicPartition(TOPIC, 0): 4})
    kafka.add(6)
    assert await kafka.fill(index) == 1
    assert [letter.offset for letter in index.select()] == [4, 5, 6]


async def test_what_comes_while_it_reads_is_left_for_the_next_time(kafka: Kafka, tmp_path: Path) -> None:
    kafka.add(0, 1)
    index = await open_index(kafka.admin, tmp_path, TOPIC)
    kafka.batch, kafka.late = 10, (2, 3)
    told: list[tuple[int, int]] = []
    assert await fill(index, kafka.admin, kafka.open_reader, lambda done, of: told.append((done, of))) == 2
    assert told[-1] == (2, 2)
    kafka.late = ()
    assert len(index) == 2
    assert await kafka.fill(index) == 2
    assert [letter.offset for letter in index.select()] == [0, 1, 2, 3]


async def test_an_interrupted_look_goes_on_from_the_last_batch(
    kafka: Kafka, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("dlq_tools.filling._BATCH", 2)
    kafka.add(*range(7))
    index = await open_index(kafka.admin, tmp_path, TOPIC)
    kafka.dies_after = 5
    with pytest.raises(UnreachableError):
        await kafka.fill(index)
    kafka.dies_after, kafka.read = None, []
    assert await kafka.fill(index) == 3
    assert [letter.offset for letter in index.select()] == list(range(7))


async def test_a_topic_that_is_not_there_is_the_users_error(kafka: Kafka, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"no topic 'dlq\.nope'.*dlq list"):
        await open_index(kafka.admin, tmp_path, "dlq.nope")


async def test_one_record_is_taken_from_kafka_as_it_is(kafka: Kafka) -> None:
    kafka.add(0, 1, 2)
    record = await fetch(kafka.admin, kafka.open_reader, TopicPartition(TOPIC, 0), 1)
    assert record == ours(1)._replace(offset=1)


@pytest.mark.parametrize(
    ("place", "offset", "reason"),
    [
        (TopicPartition(TOPIC, 0), 1, "is gone: it was purged"),
        (TopicPartition(TOPIC, 0), 9, "ends before 3"),
        (TopicPartition(TOPIC, 7), 0, "has 2 partitions"),
        (TopicPartition("dlq.nope", 0), 0, "no topic 'dlq.nope'"),
    ],
)
async def test_a_position_that_is_not_there_says_why(
    kafka: Kafka, place: TopicPartition, offset: int, reason: str
) -> None:
    kafka.add(0, 1, 2)
    await kafka.admin.delete_before({TopicPartition(TOPIC, 0): 2})
    with pytest.raises(UsageError, match=reason):
        await fetch(kafka.admin, kafka.open_reader, place, offset)


async def test_many_records_are_taken_in_one_pass_and_those_gone_are_left_out(kafka: Kafka) -> None:
    kafka.add(*range(10))
    kafka.add(*range(10), partition=1)
    await kafka.admin.delete_before({TopicPartition(TOPIC, 0): 2})
    wanted = [(0, 1), (0, 4), (0, 3), (1, 9)]
    found = [
        (record.partition, record.offset)
        async for record in fetch_many(kafka.admin, kafka.open_reader, TOPIC, wanted)
    ]
    assert found == [(0, 3), (0, 4), (1, 9)]
    assert [position async for position in fetch_many(kafka.admin, kafka.open_reader, TOPIC, [])] == []


async def test_two_commands_that_fill_one_index_write_every_letter_once(
    kafka: Kafka, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    kafka.add(*range(5))
    first, second = [await open_index(kafka.admin, tmp_path, TOPIC) for _ in range(2)]
    with first.alone():
        monkeypatch.setattr("dlq_tools.cache_file._PATIENCE", 0.05)
        monkeypatch.setattr("dlq_tools.cache_file._STEP", 0.01)
        with pytest.raises(UsageError, match="another command is writing the index"):
            await kafka.fill(second)
    assert await kafka.fill(first) == 5
    assert await kafka.fill(second) == 0
    assert len(second) == 5
