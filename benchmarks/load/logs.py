"""What the fleet itself wrote about the steps of the messages: it tells apart what a response's timing holds together."""

import time
from typing import Any

import numpy as np
import orjson
from confluent_kafka import Consumer, TopicPartition

_READ_WITHIN = 20.0  # seconds


def queue_waits(kafka: str, topic: str, most: int = 50_000) -> dict[str, float]:
    """Milliseconds that messages lay in the requests' topic before the router took them, of the last `most` events.

    Empty where the log says nothing.
    """
    waits = [
        float(event["queued_ms"])
        for event in _events(kafka, topic, most)
        if event.get("event") == "received" and event.get("queued_ms") is not None
    ]
    if not waits:
        return {}
    p50, p99 = np.percentile(waits, [50, 99])
    return {"mean": float(np.mean(waits)), "p50": float(p50), "p99": float(p99)}


def _events(kafka: str, topic: str, most: int) -> list[dict[str, Any]]:
    consumer = Consumer({"bootstrap.servers": kafka, "group.id": "bench-logs", "enable.auto.commit": False})
    try:
        left = _assign(consumer, topic, most)
        events = []
        until = time.monotonic() + _READ_WITHIN
        while left > 0 and time.monotonic() < until:
            for message in consumer.consume(5000, timeout=0.2):
                left -= 1
                events.append(orjson.loads(message.value() or b"{}"))
        return events
    finally:
        consumer.close()


def _assign(consumer: Consumer, topic: str, most: int) -> int:
    """Position at the last records; returns how many there are to read."""
    numbers = consumer.list_topics(topic, timeout=20).topics[topic].partitions
    places, left = [], 0
    for number in numbers:
        low, high = consumer.get_watermark_offsets(TopicPartition(topic, number), timeout=20)
        begin = max(low, high - most // len(numbers))
        places.append(TopicPartition(topic, number, begin))
        left += high - begin
    consumer.assign(places)
    return left
