"""The port `Publisher` over confluent-kafka's synchronous producer.

Delivery reports are collected on the event loop, by a short poll every millisecond while records are out. A thread of
its own for them was measured and is slower: librdkafka takes the GIL once a report, and on a busy loop each of those
waits for the interpreter's switch interval.

Records are gathered into batches here: what comes while others are on their way goes out when those have arrived, or
after `hold`. So a record on its own leaves at once, and many share a request. The client's own linger delays all alike,
and polls without pause in its last millisecond.
"""

import asyncio
from collections import deque
from collections.abc import Awaitable, Coroutine, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import structlog
from confluent_kafka import KafkaError, KafkaException, Message, Producer

from schemas.errors import ErrorClass, Stage
from workers.core.deadlines import Deadline
from workers.core.errors import FatalError, PermanentError, RelayError
from workers.core.metrics import DELIVERY_FAILURES, Metrics
from workers.core.records import Outgoing
from workers.kafka.closing import close
from workers.kafka.failures import is_no_partition, kafka_error, refused_record, refused_settings
from workers.kafka.logs import client_logger
from workers.kafka.posts import PostBox
from workers.kafka.sizes import DEFAULT_MAX_BYTES, check_records

_log = structlog.get_logger()

_BUSY_TICK = 0.001  # seconds between polls while reports come in
_SLOW_TICK = 0.02  # and while none do: a broker that is away costs no CPU
_IDLE_TICK = 0.5  # and with nothing out: errors and log lines are served
_PATIENCE = 200  # empty polls before the tick slows down


@dataclass(frozen=True, slots=True)
class PublisherPolicy:
    """How records are sent.

    `max_message_bytes` holds for every topic that `topic_max_bytes` doesn't name. `delivery_timeout` None waits for
    as long as the broker is away: nothing is lost, callers wait, and it goes on when the broker is back; with a
    number of seconds a record that could not be delivered until then is a `FatalError`.
    """

    max_message_bytes: int = DEFAULT_MAX_BYTES
    topic_max_bytes: Mapping[str, int] = field(default_factory=dict)
    hold: float = 0.005  # seconds that records wait at most for those before them
    compression: str = "lz4"
    queue_records: int = 100_000
    queue_bytes: int = 256 * 1024 * 1024
    delivery_timeout: float | None = None

    def config(self) -> dict[str, object]:
        """librdkafka's settings for this policy."""
        limits = [self.max_message_bytes, *self.topic_max_bytes.values()]
        timeout = 0 if self.delivery_timeout is None else int(self.delivery_timeout * 1000)
        return {
            "acks": "all",
            "enable.idempotence": True,
            "linger.ms": 0,
            "compression.type": self.compression,
            "message.max.bytes": max(limits),
            # A batch larger than a topic's limit would be refused with every small record in it.
            "batch.size": min(1_000_000, *limits),
            "queue.buffering.max.messages": self.queue_records,
            "queue.buffering.max.kbytes": max(1, self.queue_bytes // 1024),
            "message.timeout.ms": timeout,
            # The partition that Java clients and aiokafka choose for the same key.
            "partitioner": "murmur2_random",
        }


class _Delivery:
    """One call of `deliver`: done when every record of it is."""

    __slots__ = ("alone", "done", "error", "left", "publisher")

    def __init__(self, publisher: "KafkaPublisher", done: asyncio.Future[None], count: int) -> None:
        self.publisher = publisher
        self.done = done
        self.left = count
        self.alone = count == 1
        self.error: RelayError | None = None

    def report(self, error: KafkaError | None, message: Message) -> None:
        """librdkafka's delivery report of one record."""
        if error is not None:
            self.refuse(error, message.topic() or "?")
        self.left -= 1
        if not self.left:
            self.finish()

    def refuse(self, error: KafkaError, topic: str) -> None:
        """One record was not delivered."""
        self.publisher.count_failure(topic)
        self.error = self.error or refused_record(error, topic, alone=self.alone)

    def finish(self) -> None:
        """Wake the caller."""
        self.publisher.forget(self)
        if self.done.done():  # the caller gave up waiting
            return
        if self.error is None:
            self.done.set_result(None)
        else:
            self.done.set_exception(self.error)


class _Placed:
    """The delivery report of a record that was meant for one partition."""

    __slots__ = ("delivery", "publisher", "record")

    def __init__(self, publisher: "KafkaPublisher", delivery: _Delivery, record: Outgoing) -> None:
        self.publisher = publisher
        self.delivery = delivery
        self.record = record

    def __call__(self, error: KafkaError | None, message: Message) -> None:
        """librdkafka's delivery report."""
        if error is not None and is_no_partition(error):
            self.publisher.send_anywhere(self.delivery, self.record)
        else:
            self.delivery.report(error, message)


class KafkaPublisher:
    """Writes with acks=all and idempotence. Belongs to one event loop and is not thread-safe."""

    def __init__(
        self, config: Mapping[str, object], metrics: Metrics, policy: PublisherPolicy | None = None
    ) -> None:
        self._policy = policy or PublisherPolicy()
        self._metrics = metrics
        self._open: set[_Delivery] = set()
        # Deliveries that wait for those before them or found the queue full, with what is left of each.
        self._waiting: deque[tuple[_Delivery, Sequence[Outgoing]]] = deque()
        self._sent_at = 0.0  # loop time at which something was last handed to the client
        self._fatal: FatalError | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._interval = 0.0
        self._quiet = 0
        settings = {**config, **self._policy.config(), "error_cb": self._on_error}
        try:
            self._producer = Producer(settings, logger=client_logger())
            self._posts = PostBox(config, metrics)
        except KafkaException as error:
            raise refused_settings(error) from error

    def deliver(self, records: Sequence[Outgoing]) -> Awaitable[None]:
        """See `Publisher`. The queue being full is no error: the records wait in line, and so does the caller."""
        loop = asyncio.get_running_loop()
        done: asyncio.Future[None] = loop.create_future()
        refusal = self._fatal or self._check(records)
        if refusal is not None:
            done.set_exception(refusal)
            return done
        if not records:
            done.set_result(None)
            return done
        delivery = _Delivery(self, done, len(records))
        busy = bool(self._open)
        self._open.add(delivery)
        if busy:
            self._waiting.append((delivery, records))
        else:
            self._sent_at = loop.time()
            self._send(delivery, records)
        if self._interval != _BUSY_TICK:
            self._wake(loop)
        return done

    def post(self, record: Outgoing) -> None:
        """See `Publisher`."""
        self._posts.put(record)
        if self._timer is None:
            self._schedule(asyncio.get_running_loop(), _IDLE_TICK)

    def close(self, deadline: Deadline) -> Coroutine[Any, Any, int]:
        """See `Publisher`. Whoever still waits for a delivery then gets a `FatalError`. Idempotent."""
        return close(self, self._posts, deadline)

    @property
    def under_way(self) -> list[asyncio.Future[None]]:
        """Deliveries that are not over."""
        return [delivery.done for delivery in self._open]

    def give_up(self) -> int:
        """Deliver nothing more; returns how many records are left. What is posted is still served."""
        undelivered = sum(delivery.left for delivery in self._open)
        self._fail(FatalError("the publisher was closed before this was delivered"))
        return undelivered

    def stop(self) -> None:
        """Look after nothing any more."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def forget(self, delivery: _Delivery) -> None:
        """A delivery is over."""
        self._open.discard(delivery)

    def count_failure(self, topic: str) -> None:
        """A record was refused for good."""
        self._metrics.counter(DELIVERY_FAILURES, topic).inc()

    def _check(self, records: Sequence[Outgoing]) -> RelayError | None:
        try:
            check_records(records, self._policy.max_message_bytes, self._policy.topic_max_bytes)
        except PermanentError as error:
            return error
        return None

    def _send(self, delivery: _Delivery, records: Sequence[Outgoing]) -> None:
        """Hand records to the client until one finds its queue full; that one and the rest wait."""
        produce, report = self._producer.produce, delivery.report
        for number, (topic, key, value, headers, partition, timestamp) in enumerate(records):
            try:
                produce(
                    topic,
                    value,
                    key,
                    -1 if partition is None else partition,
                    on_delivery=report if partition is None else _Placed(self, delivery, records[number]),
                    timestamp=timestamp or 0,
                    headers=list(headers) if headers else None,
                )
            except BufferError:
                self._waiting.appendleft((delivery, records[number:]))
                return
            except (KafkaException, TypeError, ValueError) as error:
                if isinstance(error, KafkaException) and is_no_partition(kafka_error(error)):
                    self.send_anywhere(delivery, records[number])
                else:
                    self._refuse(delivery, topic, error)

    def send_anywhere(self, delivery: _Delivery, record: Outgoing) -> None:
        """The topic has no such partition, which is for its writer to wish and not to know: let the key decide."""
        self._send(delivery, [record._replace(partition=None)])

    def _refuse(self, delivery: _Delivery, topic: str, error: Exception) -> None:
        """The client did not even take a record."""
        if isinstance(error, KafkaException):
            delivery.refuse(kafka_error(error), topic)
        else:
            reason = f"{topic}: not a record that Kafka can hold: {error}"
            delivery.error = PermanentError(ErrorClass.INTERNAL, reason, stage=Stage.PUBLISH)
        delivery.left -= 1
        if not delivery.left:
            delivery.finish()

    def _send_waiting(self, now: float) -> None:
        """Send what waits, if its time has come, and until the queue is full."""
        if len(self._open) > len(self._waiting) and now - self._sent_at < self._policy.hold:
            return
        self._sent_at = now
        before = -1
        while self._waiting and len(self._producer) != before:
            before = len(self._producer)
            delivery, records = self._waiting.popleft()
            self._send(delivery, records)

    def _fail(self, error: FatalError) -> None:
        """Nothing can be delivered any more: tell everybody who waits, and whoever comes later."""
        self._fatal = self._fatal or error
        self._waiting.clear()
        for delivery in list(self._open):
            delivery.error = error
            delivery.finish()
        self._producer.purge(blocking=False)

    def _on_error(self, error: KafkaError) -> None:
        """librdkafka's errors that belong to no record; what passes it logs itself."""
        if error.fatal():
            _log.error("kafka_producer_failed", error=error.str())
            self._fail(FatalError(f"the Kafka producer can't go on: {error.str()}; restart the process"))

    def _wake(self, loop: asyncio.AbstractEventLoop) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._quiet = 0
        self._schedule(loop, _BUSY_TICK)

    def _schedule(self, loop: asyncio.AbstractEventLoop, interval: float) -> None:
        self._interval = interval
        self._timer = loop.call_later(interval, self._tick, loop)

    def _tick(self, loop: asyncio.AbstractEventLoop) -> None:
        served = self._producer.poll(0)
        if self._waiting:
            self._send_waiting(loop.time())
        self._posts.poll()
        self._quiet = 0 if served else self._quiet + 1
        if not self._open:
            self._schedule(loop, _IDLE_TICK)
        else:
            self._schedule(loop, _BUSY_TICK if self._quiet < _PATIENCE else _SLOW_TICK)
