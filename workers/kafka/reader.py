"""Reading topics without a group: `tail`, `send --wait`, `doctor`."""

import asyncio
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import TypeVar

from confluent_kafka import Consumer, KafkaError, KafkaException, Message
from confluent_kafka import TopicPartition as ClientPartition

from workers.core.errors import UnreachableError, UsageError
from workers.core.records import Received, TopicPartition
from workers.kafka.convert import received
from workers.kafka.failures import is_passing, kafka_error, unreachable
from workers.kafka.logs import client_logger

BEGINNING = "beginning"
END = "end"

_AHEAD_KB = 8192  # fetched ahead; small records take several times that in the client
_Result = TypeVar("_Result")


class KafkaReader:
    """Reads from the beginning, the end, or so many records before the end of each partition.

    `start_at` is `beginning`, `end`, a number of records before the end, or an offset for each partition; a partition
    that has none there, or one that was deleted, is read from its beginning. `config` is librdkafka's; `patience` is
    in seconds: how long `start` waits for the cluster.
    """

    def __init__(
        self,
        config: Mapping[str, object],
        topics: Sequence[str],
        start_at: str | int | Mapping[TopicPartition, int] = END,
        patience: float = 10.0,
    ) -> None:
        self._topics = topics
        self._patience = patience
        self._start_at = start_at
        self._consumer = Consumer(
            {
                **config,
                "group.id": "relayfleet.reader",
                "enable.auto.commit": False,
                "enable.partition.eof": True,
                "queued.max.messages.kbytes": _AHEAD_KB,
            },
            logger=client_logger(),
        )
        self._address = config["bootstrap.servers"]
        self._left: set[tuple[str, int]] = set()

    async def start(self) -> None:
        """See `Reader`."""
        await self._in_thread(self._assign)

    async def read(self, wait: float) -> Sequence[Received]:
        """See `Reader`."""
        messages = await self._in_thread(partial(self._next, wait))
        return [record for message in messages if (record := self._take(message)) is not None]

    @property
    def at_end(self) -> bool:
        """See `Reader`."""
        return not self._left

    async def close(self) -> None:
        """See `Reader`."""
        await asyncio.to_thread(self._consumer.close)

    async def _in_thread(self, work: Callable[[], _Result]) -> _Result:
        try:
            return await asyncio.to_thread(work)
        except KafkaException as error:
            raise unreachable(self._address, kafka_error(error)) from error

    def _next(self, wait: float) -> list[Message]:
        """What is there as soon as anything is: `consume` alone would wait until it is full or the time is over."""
        first = self._consumer.poll(wait)
        return [] if first is None else [first, *self._consumer.consume(499, 0)]

    def _assign(self) -> None:
        partitions = [partition for topic in self._topics for partition in self._partitions(topic)]
        self._consumer.assign(partitions)

    def _partitions(self, topic: str) -> list[ClientPartition]:
        known = self._consumer.list_topics(topic, timeout=self._patience).topics[topic]
        if known.error is not None:
            raise UsageError(
                f"topic {topic!r} can't be read ({known.error.str()}); `relayfleet topology apply` creates it"
            )
        return [self._positioned(topic, partition) for partition in known.partitions]

    def _positioned(self, topic: str, partition: int) -> ClientPartition:
        place = ClientPartition(topic, partition)
        first, end = self._consumer.get_watermark_offsets(place, timeout=self._patience)
        offset = self._start(TopicPartition(topic, partition), first, end)
        if offset < end:
            self._left.add((topic, partition))
        return ClientPartition(topic, partition, offset)

    def _start(self, place: TopicPartition, first: int, end: int) -> int:
        if isinstance(self._start_at, Mapping):
            return min(end, max(first, self._start_at.get(place, first)))
        offset = {BEGINNING: first, END: end}.get(str(self._start_at))
        return max(first, end - int(self._start_at)) if offset is None else offset

    def _take(self, message: Message) -> Received | None:
        error = message.error()
        if error is None:
            return received(message)
        if error.code() == KafkaError._PARTITION_EOF:  # noqa: SLF001 - librdkafka's own codes have such names
            self._left.discard((message.topic() or "", message.partition() or 0))
        elif not is_passing(error):
            raise UnreachableError(f"reading {message.topic()} failed: {error.str()}")
        return None
