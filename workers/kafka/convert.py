"""librdkafka's messages as our records."""

import structlog
from confluent_kafka import Message

from workers.core.records import Headers, Received

_log = structlog.get_logger()

_NONE: Headers = ()


def received(message: Message) -> Received:
    """A consumed message without error. `timestamp_ms` is -1 where the record has none."""
    try:
        headers = message.headers()
        return _record(message, tuple(headers) if headers else _NONE)  # type: ignore[arg-type]  # a list where it was read
    except (UnicodeDecodeError, SystemError):
        # The client sets the first and goes on as if nothing were; the interpreter then finds it, here at the latest.
        _warn(message)
        return _record(message, _NONE)


def _record(message: Message, headers: Headers) -> Received:
    return Received(
        message.topic(),  # type: ignore[arg-type]  # None only in messages that carry an error, as the next two
        message.partition(),  # type: ignore[arg-type]  # see above
        message.offset(),  # type: ignore[arg-type]  # see above
        message.key(),
        message.value(),
        headers,
        message.timestamp()[1],
    )


def _warn(message: Message) -> None:
    """Kafka wants UTF-8 in header names and checks nothing; such a record must not stop everybody behind it."""
    position = f"{message.topic()}:{message.partition()}:{message.offset()}"
    _log.warning("kafka_headers_unreadable", position=position, why="a header's name is not UTF-8")
