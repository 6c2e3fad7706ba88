"""librdkafka's messages as our records."""

from confluent_kafka import Message

from workers.core.records import Headers, Received

NO_TIMESTAMP = -1


def received(message: Message) -> Received:
    """A consumed message without error. `timestamp_ms` is -1 where the record has none."""
    headers = message.headers()
    # The client types these as optional for messages that carry an error; consumed ones have them.
    return Received(
        message.topic(),  # type: ignore[arg-type]
        message.partition(),  # type: ignore[arg-type]
        message.offset(),  # type: ignore[arg-type]
        message.key(),
        message.value(),
        tuple(headers) if headers else _NONE,  # type: ignore[arg-type]
        message.timestamp()[1],
    )


_NONE: Headers = ()
