"""Dead letters of every family, as their systems write them."""

import struct
from collections.abc import Mapping

import orjson

from schemas.dead_letter import Failure, dead_letter_headers
from schemas.errors import ErrorClass, Stage
from workers.core.records import Headers, Received

TOPIC = "dlq.model_requests"
NOON_MS = 1_767_268_800_000  # 2026-01-01T12:00:00Z


def record(
    value: bytes | None,
    headers: Headers = (),
    *,
    offset: int = 0,
    partition: int = 0,
    key: bytes | None = None,
) -> Received:
    """A record of a dead-letter topic."""
    return Received(TOPIC, partition, offset, key, value, headers, NOON_MS)


def ours(
    number: int = 0,
    error_class: ErrorClass = ErrorClass.TIMEOUT,
    *,
    reason: str = "no whole answer within 30 s",
    payload: Mapping[str, object] | None = None,
    partition: int = 0,
    failed_at_ms: int | None = None,
    target: str = "llm",
) -> Received:
    """A dead letter of the fleet, the `number`th of its partition, failed so many minutes past noon."""
    failure = Failure(
        error_class,
        Stage.CALL,
        reason,
        failed_at_ms=NOON_MS + number * 60_000 if failed_at_ms is None else failed_at_ms,
        topic=f"model_requests.{target}",
        partition=1,
        offset=100 + number,
        group="relayfleet.worker.llm",
        message_id=f"req_{number}",
        source="web",
        target=target,
        attempt=5,
    )
    value = {
        "message_id": f"req_{number}",
        "source": "web",
        "payload": {"text": f"laptop {number}"} if payload is None else payload,
        "timestamp": 1_767_268_799,
    }
    headers = dead_letter_headers((("traceparent", b"00-ab-cd-01"), ("tenant", b"acme")), failure)
    return record(
        orjson.dumps(value), headers, offset=number, partition=partition, key=f"user-{number}".encode()
    )


def text_headers(fields: Mapping[str, str | bytes]) -> Headers:
    """Headers of text, or of bytes where a system writes its numbers so."""
    return tuple(
        (name, value if isinstance(value, bytes) else value.encode()) for name, value in fields.items()
    )


CONNECT = text_headers(
    {
        "__connect.errors.topic": "orders",
        "__connect.errors.partition": "2",
        "__connect.errors.offset": "9",
        "__connect.errors.connector.name": "warehouse",
        "__connect.errors.task.id": "0",
        "__connect.errors.stage": "VALUE_CONVERTER",
        "__connect.errors.class.name": "org.apache.kafka.connect.json.JsonConverter",
        "__connect.errors.exception.class.name": "org.apache.kafka.connect.errors.DataException",
        "__connect.errors.exception.message": "Converting byte[] to Kafka Connect data failed",
        "__connect.errors.exception.stacktrace": "org.apache.kafka.connect.errors.DataException\n\tat x",
    }
)
STREAMS = text_headers(
    {
        "__streams.errors.exception": "org.apache.kafka.common.errors.SerializationException",
        "__streams.errors.message": "Size of data received by LongDeserializer is not 8",
        "__streams.errors.topic": "clicks",
        "__streams.errors.partition": "1",
        "__streams.errors.offset": "5",
    }
)
SPRING = text_headers(
    {
        "kafka_dlt-original-topic": "payments",
        "kafka_dlt-original-partition": struct.pack(">i", 2),
        "kafka_dlt-original-offset": struct.pack(">q", 77),
        "kafka_dlt-original-timestamp": struct.pack(">q", NOON_MS),
        "kafka_dlt-exception-fqcn": "org.springframework.kafka.listener.ListenerExecutionFailedException",
        "kafka_dlt-exception-cause-fqcn": "java.lang.NullPointerException",
        "kafka_dlt-exception-message": "Listener failed",
        "retry_topic-attempts": struct.pack(">i", 4),
    }
)
SHARE = text_headers(
    {
        "__dlq.errors.topic": "jobs",
        "__dlq.errors.partition": "1",
        "__dlq.errors.offset": "5",
        "__dlq.errors.group": "share-workers",
        "__dlq.errors.delivery.count": "5",
        "__dlq.errors.message": "delivery count limit reached",
    }
)
