"""How Faust reads for the router: slices of a partition instead of single records, and offsets kept by our ledger.

One Faust event holds up to `SLICE_RECORDS` consecutive records of a partition, so Faust's cost an event (60 us) is paid
once a slice. Acknowledging an event finishes its slice, and only the contiguous finished prefix is ever committed.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, ClassVar

from faust.transport.drivers.aiokafka import AIOKafkaConsumerThread
from faust.transport.drivers.aiokafka import Consumer as AiokafkaConsumer
from faust.transport.drivers.aiokafka import Transport as AiokafkaTransport
from faust.types import TP
from faust.types.transports import ConsumerT, SchedulingStrategyT
from faust.types.tuples import ConsumerMessage, Message
from mode import Service
from mode.threads import MethodQueue
from mode.utils.futures import notify
from mode.utils.locks import Event

from workers.router.ledger import Ledger, Slice
from workers.router.waits import FAUST_LOGGER, Calls, Direct

SLICE_RECORDS = 500
COMMIT_SECONDS = 0.05
"""How long a finished slice may wait for its commit; what it bounds is how much a killed router repeats."""


class SliceMessage(ConsumerMessage):
    """A Faust message that stands for a slice. It has no value of its own: `records` are aiokafka's."""

    __slots__ = ("piece", "records")

    def __init__(self, tp: TP, records: Sequence[Any], generation: int) -> None:
        first, last = records[0], records[-1]
        super().__init__(
            tp.topic,
            tp.partition,
            first.offset,
            first.timestamp / 1000,
            first.timestamp_type,
            None,
            None,
            None,
            None,
            tp=tp,
            generation_id=generation,
        )
        self.records = records
        self.piece = Slice(first.offset, last.offset + 1)


class Slices(SchedulingStrategyT):
    """Cuts what was fetched into slices, one partition after the other in turn."""

    def __init__(self) -> None:
        """Nothing to keep; Faust's base is abstract in this."""

    @classmethod
    def map_from_records(cls, records: Mapping[TP, list[Any]]) -> Any:
        """The slices of each partition."""
        return {
            tp: [fetched[at : at + SLICE_RECORDS] for at in range(0, len(fetched), SLICE_RECORDS)]
            for tp, fetched in records.items()
        }

    def iterate(self, records: Mapping[TP, list[Any]]) -> Iterator[tuple[TP, Any]]:
        """Partition and slice, round robin."""
        return self.records_iterator(self.map_from_records(records))

    def records_iterator(self, index: Any) -> Iterator[tuple[TP, Any]]:
        """See `iterate`."""
        left = {TP(*tp): iter(slices) for tp, slices in index.items()}
        while left:
            for tp, slices in list(left.items()):
                piece = next(slices, None)
                if piece is None:
                    del left[tp]
                else:
                    yield tp, piece


class CommittedOnly(AIOKafkaConsumerThread):
    """Faust's thread around aiokafka, which would also read what a transaction took back."""

    logger = FAUST_LOGGER

    def _create_worker_consumer(self, transport: Any) -> Any:
        consumer = super()._create_worker_consumer(transport)
        # Faust sets it only where it writes in transactions itself; it is looked at when the consumer starts.
        consumer._isolation_level = "read_committed"  # noqa: SLF001 - Faust has no setting for it
        return consumer

    @property
    def method_queue(self) -> MethodQueue:
        """See `QueueServiceThread`."""
        if self._method_queue is None:
            self._method_queue = Calls(loop=self.thread_loop, beacon=self.beacon)
        return self._method_queue


class SliceConsumer(Direct, AiokafkaConsumer):
    """Faust's consumer with our bookkeeping of offsets."""

    logger = FAUST_LOGGER

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        self.ledgers: dict[TP, Ledger] = {}
        self._something_finished = Event()
        super().__init__(*args, **kwargs)

    def _new_consumer_thread(self) -> CommittedOnly:
        return CommittedOnly(self, loop=self.loop, beacon=self.beacon)

    def _to_message(self, tp: TP, record: Any) -> ConsumerMessage:
        message = SliceMessage(tp, record, self.app.consumer_generation_id)
        self._ledger(tp).taken(message.piece)
        return message

    def _ledger(self, tp: TP) -> Ledger:
        epoch = self.app.consumer_generation_id
        ledger = self.ledgers.get(tp)
        if ledger is None or ledger.epoch != epoch:
            ledger = self.ledgers[tp] = Ledger(epoch)
        return ledger

    def ack(self, message: Message) -> bool:
        """Finish the message's slice; one of an earlier assignment is not counted any more."""
        if message.acked and message not in self._unacked_messages:
            return False
        message.acked = True
        self._unacked_messages.discard(message)
        ledger = self.ledgers.get(message.tp)
        if isinstance(message, SliceMessage) and ledger is not None and ledger.epoch == message.generation_id:
            ledger.finished(message.piece)
            self._something_finished.set()
        notify(self._waiting_for_ack)
        return True

    @Service.task
    async def _commit_handler(self) -> None:
        """Commit when something has finished. Faust's own would commit every so many seconds, from start on."""
        while not self.should_stop:
            await self.wait(self._something_finished)
            self._something_finished.clear()
            await self.commit()
            await self.sleep(COMMIT_SECONDS)

    async def _commit_tps(self, tps: Iterable[TP], start_new_transaction: bool) -> bool:
        """What is left of Faust's own: no messages are attached to a commit, no tables wait for it, nobody reads its log."""
        assigned = self.assignment()
        offsets = {tp: at for tp, at in self._filter_committable_offsets(tps).items() if tp in assigned}
        if not offsets or not await self._commit(offsets):
            return False
        self._committed_offset.update(offsets)
        return True

    def _filter_tps_with_pending_acks(self, topics: Any = None) -> Iterator[TP]:
        return (tp for tp in list(self.ledgers) if topics is None or tp in topics or tp.topic in topics)

    def _new_offset(self, tp: TP) -> int | None:
        ledger = self.ledgers.get(tp)
        return ledger.committable if ledger is not None else None

    async def _add_gap(self, tp: TP, offset_from: int, offset_to: int) -> None:
        """Gaps need no list: the ledger knows what was taken."""

    async def on_partitions_revoked(self, revoked: set[TP]) -> None:
        """Finish and commit what is in flight (Faust waits for it), then forget the partitions."""
        await super().on_partitions_revoked(revoked)
        for tp in revoked:
            self.ledgers.pop(tp, None)

    def on_buffer_full(self, tp: TP) -> None:
        """A full queue blocks the reading coroutine; taking partitions out of the fetch would stall it for a second."""

    def on_buffer_drop(self, tp: TP) -> None:
        """See `on_buffer_full`."""

    def verify_event_path(self, now: float, tp: TP) -> None:
        """Our own watchdog looks at progress (`workers.router.progress`)."""


class SliceTransport(AiokafkaTransport):
    """aiokafka with `SliceConsumer`."""

    Consumer: ClassVar[type[ConsumerT]] = SliceConsumer
