"""Dead letters of every family of headers and of several causes, by number, for whole topics of them."""

import struct
from collections.abc import Sequence

from schemas.dead_letter import dead_letter_headers
from schemas.errors import ErrorClass
from tests.dlq_world import failure

_CAUSES = (ErrorClass.TIMEOUT, ErrorClass.UPSTREAM_5XX, ErrorClass.CONTEXT_LENGTH)
FAMILIES = ("relayfleet", "share", "streams", "connect", "spring")


def headers(number: int, topic: str, target: str) -> Sequence[tuple[str, bytes | None]]:
    """The headers of letter `number`, which failed in `topic`, the topic of `target`; every fifth is of a family."""
    family = FAMILIES[number % len(FAMILIES)]
    at, offset = topic.encode(), str(number).encode()
    if family == "share":
        return _text("__dlq.errors.", at, offset, message=b"delivery count limit reached")
    if family == "streams":
        return _text("__streams.errors.", at, offset, message=b"Size of data received is not 8")
    if family == "connect":
        return (
            *_text("__connect.errors.", at, offset),
            ("__connect.errors.exception.class.name", b"org.apache.kafka.connect.errors.DataException"),
            ("__connect.errors.exception.message", b"connection refused"),
        )
    if family == "spring":
        return (
            ("kafka_dlt-original-topic", at),
            ("kafka_dlt-original-partition", struct.pack(">i", 0)),
            ("kafka_dlt-original-offset", struct.pack(">q", number)),
            ("kafka_dlt-exception-fqcn", b"java.net.SocketTimeoutException"),
            ("kafka_dlt-exception-message", b"Read timed out"),
        )
    return dead_letter_headers((), failure(number, target, _CAUSES[number // len(FAMILIES) % 3]))


def _text(prefix: str, topic: bytes, offset: bytes, **more: bytes) -> list[tuple[str, bytes | None]]:
    known = {"topic": topic, "partition": b"0", "offset": offset, **more}
    return [(f"{prefix}{name}", value) for name, value in known.items()]
