"""The bare loop that `benchmarks.router` compares with: consume, parse, produce, and no promise about anything.

Started as `python -m benchmarks.bare_router KAFKA NAME`. No validation, no headers, no dead letters, no logs, no
metrics, nobody waits for a delivery; what was read is committed by a timer, whether it was delivered or not.
"""

import sys

import orjson
from confluent_kafka import Consumer, Producer


def main(kafka: str, name: str) -> None:
    """Route by one keyword, for ever."""
    producer = Producer(
        {
            "bootstrap.servers": kafka,
            "linger.ms": 1,
            "compression.type": "lz4",
            "queue.buffering.max.messages": 2_000_000,
        }
    )
    consumer = Consumer({"bootstrap.servers": kafka, "group.id": name, "auto.offset.reset": "earliest"})
    consumer.subscribe([name])
    while True:
        first = consumer.poll(0.1)  # `consume` alone would wait for its 500
        if first is None:
            continue
        for message in (first, *consumer.consume(499, timeout=0)):
            value = message.value() or b"{}"
            text = orjson.loads(value)["payload"]["text"]
            target = "screens" if "蓝屏" in text else "llm"
            producer.produce(f"{name}.{target}", value, message.key())
        producer.poll(0)


if __name__ == "__main__":
    main(*sys.argv[1:3])
