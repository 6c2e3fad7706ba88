"""How far the fleet's groups are behind."""

from collections.abc import Sequence

from confluent_kafka import Consumer, TopicPartition


def lags(kafka: str, groups: Sequence[tuple[str, str]]) -> dict[str, int]:
    """Records between what a group has committed and the end, for each (group, topic)."""
    return {group: _lag(kafka, group, topic) for group, topic in groups}


def _lag(kafka: str, group: str, topic: str) -> int:
    consumer = Consumer({"bootstrap.servers": kafka, "group.id": group, "enable.auto.commit": False})
    try:
        numbers = consumer.list_topics(topic, timeout=10).topics[topic].partitions
        places = consumer.committed([TopicPartition(topic, number) for number in numbers], timeout=10)
        behind = 0
        for place in places:
            low, high = consumer.get_watermark_offsets(place, timeout=10)
            behind += max(0, high - max(place.offset, low))
        return behind
    finally:
        consumer.close()
