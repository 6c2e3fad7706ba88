"""How large a record is for the broker's limits."""

from collections.abc import Mapping, Sequence

from schemas.errors import ErrorClass, Stage
from workers.core.errors import PermanentError
from workers.core.records import Outgoing

DEFAULT_MAX_BYTES = 1_048_588  # what a topic takes unless told otherwise
_BATCH_OVERHEAD = 61  # the header of a batch of one
_RECORD_OVERHEAD = 36  # attributes and every varint at its longest
_HEADER_OVERHEAD = 10  # two lengths at their longest


def record_size(record: Outgoing) -> int:
    """Bytes that the record takes on the wire, uncompressed; never less than what Kafka counts."""
    size = _BATCH_OVERHEAD + _RECORD_OVERHEAD + len(record.key or b"") + len(record.value or b"")
    for name, value in record.headers:
        # Up to four bytes a character, without encoding every name of every record.
        name_size = len(name) if name.isascii() else 4 * len(name)
        size += _HEADER_OVERHEAD + name_size + (len(value) if value is not None else 0)
    return size


def check_sizes(records: Sequence[Outgoing], limit: int, topic_limits: Mapping[str, int]) -> None:
    """Raise `PermanentError(too_large)` for the first record that its topic would not take."""
    for record in records:
        size = record_size(record)
        allowed = topic_limits.get(record.topic, limit)
        if size > allowed:
            reason = (
                f"the record for {record.topic} has {size} bytes with its headers, the topic takes {allowed}"
            )
            raise PermanentError(ErrorClass.TOO_LARGE, reason, stage=Stage.PUBLISH)
