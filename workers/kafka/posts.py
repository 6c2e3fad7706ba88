"""Records that may be dropped, over a producer of their own: they can't fill the queue of those that may not."""

from collections.abc import Mapping

from confluent_kafka import KafkaError, KafkaException, Message, Producer

from workers.core.metrics import DELIVERY_FAILURES, EVENTS_DROPPED, Metrics
from workers.core.records import Outgoing
from workers.kafka.logs import client_logger
from workers.kafka.sizes import headers_size

_CONFIG: Mapping[str, object] = {
    "acks": "1",
    "linger.ms": 200,
    "compression.type": "lz4",
    "queue.buffering.max.messages": 50_000,
    "queue.buffering.max.kbytes": 64 * 1024,
    "message.timeout.ms": 30_000,
    "partitioner": "murmur2_random",
    # A report for each of several events a message would cost more than the events.
    "delivery.report.only.error": True,
}


class PostBox:
    """Sends without waiting. What finds no room or no broker is counted and gone."""

    def __init__(self, config: Mapping[str, object], metrics: Metrics) -> None:
        self._metrics = metrics
        self._dropped = metrics.counter(EVENTS_DROPPED)
        self._producer = Producer(
            {**config, **_CONFIG, "on_delivery": self._on_delivery}, logger=client_logger()
        )

    def put(self, record: Outgoing) -> None:
        """Queue one record. Never blocks, never raises."""
        topic, key, value, headers, partition, timestamp = record
        try:
            if not headers and partition is None and timestamp is None:  # an event: half the price
                self._producer.produce(topic, value, key)
                return
            headers_size(headers)  # the client dies of a name that UTF-8 can't hold
            self._producer.produce(
                topic,
                value,
                key,
                -1 if partition is None else partition,
                timestamp=timestamp or 0,
                headers=list(headers) if headers else None,
            )
        except (BufferError, KafkaException, TypeError, ValueError):
            self._dropped.inc()

    def poll(self) -> None:
        """Serve reports and log lines."""
        self._producer.poll(0)

    def flush(self, seconds: float) -> None:
        """Wait until all is sent, for so long at most. Blocks."""
        self._producer.flush(seconds)

    def close(self) -> None:
        """What is left counts as dropped."""
        self._producer.poll(0)  # the client's own errors stand in the same queue
        self._dropped.inc(len(self._producer))
        self._producer.purge(blocking=False)

    def _on_delivery(self, error: KafkaError | None, message: Message) -> None:
        if error is not None:
            self._dropped.inc()
            self._metrics.counter(DELIVERY_FAILURES, message.topic() or "?").inc()
