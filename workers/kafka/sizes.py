"""Whether Kafka could hold a record at all, asked before it is handed to a client."""

from collections.abc import Mapping, Sequence

from schemas.errors import ErrorClass, Stage
from workers.core.errors import PermanentError
from workers.core.records import Headers, Outgoing

DEFAULT_MAX_BYTES = 1_048_588  # what a topic takes unless told otherwise
_BATCH_OVERHEAD = 61  # the header of a batch of one
_RECORD_OVERHEAD = 36  # attributes and every varint at its longest
_HEADER_OVERHEAD = 10  # two lengths at their longest


def headers_size(headers: Headers) -> int:
    """Bytes that headers take, at most. Raises `UnicodeEncodeError` for a name that UTF-8 can't hold."""
    size = 0
    for name, value in headers:
        name_size = len(name) if name.isascii() else len(name.encode())
        size += _HEADER_OVERHEAD + name_size + (len(value) if value is not None else 0)
    return size


def record_size(record: Outgoing) -> int:
    """Bytes that the record takes on the wire, uncompressed; never less than what Kafka counts."""
    size = _BATCH_OVERHEAD + _RECORD_OVERHEAD + len(record.key or b"") + len(record.value or b"")
    return size + headers_size(record.headers) if record.headers else size


def check_records(records: Sequence[Outgoing], limit: int, topic_limits: Mapping[str, int]) -> None:
    """Raise `PermanentError` for the first record that its topic would not take: `too_large`, or `internal`.

    The client dies of a header name that UTF-8 can't hold: such a record must never reach it.
    """
    for record in records:
        try:
            size = record_size(record)
        except UnicodeEncodeError as error:
            reason = f"the record for {record.topic} has a header whose name is not text"
            raise PermanentError(ErrorClass.INTERNAL, reason, stage=Stage.PUBLISH) from error
        allowed = topic_limits.get(record.topic, limit)
        if size > allowed:
            reason = (
                f"the record for {record.topic} has {size} bytes with its headers, the topic takes {allowed}"
            )
            raise PermanentError(ErrorClass.TOO_LARGE, reason, stage=Stage.PUBLISH)
