"""The thread that polls. It never waits for work: what it can't hand over it leaves with the broker, paused."""

from collections.abc import Callable, Collection, Mapping, Sequence
from contextlib import suppress
from threading import Event, Thread
from typing import Protocol as Interface

import structlog
from confluent_kafka import Consumer, KafkaError, KafkaException, Message
from confluent_kafka import TopicPartition as ClientPartition

from workers.core.deadlines import Deadline
from workers.core.errors import FatalError, UnreachableError
from workers.core.metrics import Metrics
from workers.core.records import Received, TopicPartition
from workers.kafka.commits import Committer
from workers.kafka.convert import received
from workers.kafka.failures import is_hopeless, is_protocol_missing, kafka_error, refused_settings
from workers.kafka.holding import ends_of
from workers.kafka.logs import client_logger
from workers.kafka.membership import Protocol, SubscriptionPolicy, member_config
from workers.kafka.ownership import Ownership
from workers.kafka.protocol import spoken_protocol
from workers.kafka.rebalances import Rebalances, RebalanceSide
from workers.kafka.rhythm import Rhythm

_log = structlog.get_logger()

BATCH = 500
_WAIT = 0.02  # seconds in one poll: how soon a commit, a resume or a stop is seen
_LOOK = 0.25  # seconds between looks at where the partitions end


class LoopSide(RebalanceSide, Interface):
    """What the event loop is told, and what it asks for. Nothing in here blocks or raises."""

    @property
    def ahead(self) -> int:
        """Records handed over and not yet taken."""

    @property
    def full(self) -> frozenset[TopicPartition]:
        """Partitions that must not be fetched for now."""

    def records(self, batch: list[Received], ends: Mapping[TopicPartition, int]) -> None:
        """Records came; `ends` has the next offset of each partition in `batch`."""

    def at_end(self, ends: Mapping[TopicPartition, int]) -> None:
        """Nothing more can be read of these for now; each with the offset of its end."""

    def failed(self, error: BaseException) -> None:
        """It is over."""


class _ProtocolMissing(Exception):  # noqa: N818 - a signal inside this module
    """The broker does not know KIP-848."""


class PollThread:
    """Owns the consumer: makes it, polls it, closes it."""

    def __init__(
        self,
        config: Mapping[str, object],
        group: str,
        topics: Sequence[str],
        policy: SubscriptionPolicy,
        loop_side: LoopSide,
        metrics: Metrics,
    ) -> None:
        self._config = config
        self._group = group
        self._topics = topics
        self._policy = policy
        self._loop_side = loop_side
        self._stopping = Event()
        self.finished = Event()
        self.ownership = Ownership()
        self.committer = Committer(group, self.ownership, metrics)
        self._rebalances = Rebalances(self.ownership, self.committer, loop_side, policy, self._stopping)
        self._paused: frozenset[TopicPartition] | None = frozenset()  # None: as the client pleases
        self._crowded = False
        self._fatal: KafkaError | None = None
        self._consumer: Consumer | None = None
        self._look = Deadline.after(0)
        self._rhythm = Rhythm()
        # The lowest and the next offset; replaced, never changed, so that the loop may read it.
        self.ends: Mapping[TopicPartition, tuple[int, int]] = {}
        self._thread = Thread(target=self._run, name=f"kafka-poll-{group}", daemon=True)

    def start(self) -> None:
        """Begin to poll."""
        self._thread.start()

    def stop(self) -> None:
        """Leave the group after the poll under way; `finished` says when. No callback asks the loop any more."""
        self._stopping.set()

    def _join(self, protocol: Protocol) -> Consumer:
        settings = member_config(self._config, self._group, self._policy, protocol)
        settings |= {"error_cb": self._on_error, "on_commit": self.committer.on_commit}
        try:
            consumer = Consumer(settings, logger=client_logger())
        except KafkaException as error:
            raise refused_settings(error) from error
        self._rebalances.subscribe(consumer, self._topics, self._forget_pauses)
        return consumer

    def _run(self) -> None:
        try:
            self._poll_or_fall_back()
        except Exception as error:  # noqa: BLE001 - a thread that dies in silence is the worst of all failures
            _log.error("kafka_consumer_failed", group=self._group, error=str(error))
            self._stopping.set()
            self._loop_side.failed(error)
        finally:
            self._shut()

    def _poll_or_fall_back(self) -> None:
        protocol = self._choose()
        if protocol is None:
            return
        try:
            self._poll_until_stopped(protocol)
        except _ProtocolMissing:
            _log.info("kafka_classic_protocol", group=self._group, why="the cluster does not offer KIP-848")
            self._leave()
            self._poll_until_stopped("classic")

    def _choose(self) -> Protocol | None:
        """The protocol to join with, once a broker answers; None when stopped before."""
        if self._policy.protocol != "auto":
            return self._policy.protocol
        while not self._stopping.is_set():
            try:
                return spoken_protocol(self._config)
            except UnreachableError as error:
                _log.warning("kafka_unreachable", group=self._group, error=str(error))
        return None

    def _poll_until_stopped(self, protocol: Protocol) -> None:
        consumer = self._consumer = self._join(protocol)
        while not self._stopping.is_set():
            self.committer.pump(consumer)
            self._apply_pauses(consumer)
            if self._look.expired:
                self._look_at_ends(consumer)
            # `consume` alone would wait until its batch is full.
            first = consumer.poll(_WAIT)
            if first is not None:
                self._hand_over([first, *consumer.consume(BATCH - 1, self._rhythm.gathering)])
                self._rhythm.handed_over()
            if self._fatal is not None:
                self._judge(self._fatal)

    def _hand_over(self, messages: list[Message]) -> None:
        batch: list[Received] = []
        at_end: dict[TopicPartition, int] = {}  # and the offset of that end
        for message in messages:
            error = message.error()
            if error is None:
                batch.append(received(message))
            elif error.code() == KafkaError._PARTITION_EOF:  # noqa: SLF001 - librdkafka's own codes have such names
                at_end[_place(message)] = message.offset() or 0
            else:
                self._judge(error)
        ends = ends_of(batch)
        epochs = self.ownership.epochs
        strangers = [place for place in ends if place not in epochs]
        if strangers:  # polled just before they were taken from us
            batch = [record for record in batch if (record.topic, record.partition) in epochs]
            for place in strangers:
                del ends[place]
        if batch:
            self._loop_side.records(batch, ends)
        if at_end:
            self._loop_side.at_end(
                {place: end for place, end in at_end.items() if ends.get(place, end) <= end}
            )

    def _judge(self, error: KafkaError) -> None:
        """Raise for what polling on does not mend."""
        if is_protocol_missing(error) and self._policy.protocol == "auto" and not self.ownership.epochs:
            raise _ProtocolMissing
        if is_hopeless(error) or is_protocol_missing(error):
            raise FatalError(f"group {self._group} can't go on: {error.str()}")
        _log.warning("kafka_consumer_error", group=self._group, error=error.str())

    def _on_error(self, error: KafkaError) -> None:
        """Errors that belong to no record. Raising in here would be lost: the poll loop looks at them."""
        if is_hopeless(error) or is_protocol_missing(error):
            self._fatal = error

    def _apply_pauses(self, consumer: Consumer) -> None:
        """Pause in the client what must be, and nothing else."""
        ahead = self._loop_side.ahead
        if ahead >= self._policy.max_ahead:
            self._crowded = True
        elif ahead <= self._policy.max_ahead // 4:
            self._crowded = False
        full = self._loop_side.full
        if not self._crowded and full == self._paused:
            return
        ours = frozenset(self.ownership.epochs)
        wanted = ours if self._crowded else full & ours
        if self._paused is None:
            _switch(consumer.pause, wanted)
            _switch(consumer.resume, ours - wanted)
        else:
            _switch(consumer.pause, wanted - self._paused)
            _switch(consumer.resume, (self._paused - wanted) & ours)
        self._paused = wanted

    def _look_at_ends(self, consumer: Consumer) -> None:
        """Note what the client knows about the ends. Asks no broker."""
        ends: dict[TopicPartition, tuple[int, int]] = {}
        for place in self.ownership.epochs:
            with suppress(KafkaException):
                ends[place] = consumer.get_watermark_offsets(ClientPartition(*place), cached=True)
        self.ends = ends
        self._look = Deadline.after(_LOOK)

    def _forget_pauses(self) -> None:
        """The client keeps a pause over some rebalances: say of each partition anew whether it is paused."""
        self._paused = None

    def _shut(self) -> None:
        """Leave the group."""
        self.committer.close()
        self._leave()
        self.ends = {}
        self.ownership.drop(list(self.ownership.epochs))
        self.finished.set()

    def _leave(self) -> None:
        if self._consumer is None:
            return
        try:
            self._consumer.close()
        except (KafkaException, RuntimeError) as error:
            why = kafka_error(error).str() if isinstance(error, KafkaException) else str(error)
            _log.warning("kafka_leave_failed", group=self._group, error=why)


def _place(message: Message) -> TopicPartition:
    return TopicPartition(message.topic() or "", message.partition() or 0)


def _switch(method: Callable[[list[ClientPartition]], None], places: Collection[TopicPartition]) -> None:
    if places:
        method([ClientPartition(*place) for place in places])
