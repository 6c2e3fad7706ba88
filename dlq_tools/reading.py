"""Records of a dead-letter topic as rows of the index, whoever wrote them and whatever their bytes are."""

import functools
from enum import StrEnum
from typing import Any, NamedTuple

import orjson

from dlq_tools.avro_files import NONE, AvroFiles
from dlq_tools.columns import IndexedLetter
from schemas import headers as h
from schemas.codec import decode_value, jsontext
from schemas.dead_letter import read_facts
from schemas.errors import DecodeError
from schemas.formats import WireFormat
from workers.core.records import Headers, Received
from workers.core.redact import MASK, is_secret_name, redact

MAX_INDEXED_BYTES = 64 * 1024
"""Values above this are read from Kafka when they are asked for; the index keeps what their headers tell."""

_MAX_HEADER_BYTES = 512
_MAX_ID_CHARS = 256
_MAX_MESSAGE_CHARS = 2048


class Family(StrEnum):
    """Whose way of writing dead letters a record follows."""

    RELAYFLEET = "relayfleet"
    CONNECT = "connect"
    STREAMS = "streams"
    SPRING = "spring"
    SHARE = "share"
    UNKNOWN = "unknown"


# In the order of trust; ours is a superset of the share groups', so it comes first.
_FAMILIES = (
    (h.PREFIX + "error.", Family.RELAYFLEET),
    ("__dlq.errors.", Family.SHARE),
    ("__connect.errors.", Family.CONNECT),
    ("__streams.errors.", Family.STREAMS),
    ("kafka_dlt-", Family.SPRING),
    ("kafka_original-", Family.SPRING),
    ("kafka_exception-", Family.SPRING),
    ("retry_topic-", Family.SPRING),
)
_CONNECT_STAGE = "__connect.errors.stage"
_SPRING_ATTEMPTS = "retry_topic-attempts"


class Content(NamedTuple):
    """A value as it could be read. `data` is what it holds in JSON types, or its text; None for binary and null."""

    format: str
    data: Any


def family(headers: Headers) -> Family:
    """Whose headers these are."""
    best = len(_FAMILIES)
    for name, _ in headers:
        best = min(best, _rank(name))
        if best == 0:
            break
    return _FAMILIES[best][1] if best < len(_FAMILIES) else Family.UNKNOWN


@functools.lru_cache(maxsize=4096)
def _rank(name: str) -> int:
    return next(
        (rank for rank, (prefix, _) in enumerate(_FAMILIES) if name.startswith(prefix)), len(_FAMILIES)
    )


def content(value: bytes | None, headers: Headers, schemas: AvroFiles = NONE) -> Content:
    """The value, by the best that its bytes allow: `json`, `avro`, `text`, `binary` or `null`. Never raises.

    What the operator's own schemas can read is read with them: an id of a registry may be one of ours as well.
    """
    if value is None:
        return Content("null", None)
    if schemas.digest and not _is_json(value) and (found := schemas.read(value, headers)) is not None:
        return Content("avro", found)
    try:
        wire, data = decode_value(value, headers)
    except DecodeError:
        return _undecoded(value)
    return Content("avro" if wire in _AVRO else "json", data)


def _is_json(value: bytes) -> bool:
    try:
        orjson.loads(value)
    except orjson.JSONDecodeError:
        return False
    return True


_AVRO = frozenset({WireFormat.AVRO, WireFormat.AVRO_REGISTRY})


def indexed(record: Received, schemas: AvroFiles = NONE) -> IndexedLetter:
    """The row of a record. Never raises."""
    facts, found = read_facts(record.headers), content(record.value, record.headers, schemas)
    envelope = found.data if isinstance(found.data, dict) else {}
    # Without an origin of its own, where it failed is where it was first.
    failed, origin = facts.failed or _NOWHERE, facts.origin or facts.failed or _NOWHERE
    first_failed, last_failed = _time(facts.first_failed_at_ms), _time(facts.last_failed_at_ms)
    message = facts.message
    return IndexedLetter(
        *record[:3],
        timestamp_ms=record.timestamp_ms,
        failed_at_ms=_first(last_failed, first_failed, record.timestamp_ms),
        first_failed_at_ms=first_failed,
        last_failed_at_ms=last_failed,
        message_id=facts.message_id or _text(envelope.get("message_id")),
        source=facts.source or _text(envelope.get("source")),
        target=facts.target,
        error_class=facts.error_class or _short(facts.exception),
        stage=facts.stage or _lower(h.get(record.headers, _CONNECT_STAGE)),
        status=facts.status,
        message=None if message is None else _redacted(message[:_MAX_MESSAGE_CHARS]),
        exception=facts.exception,
        fingerprint=facts.fingerprint,
        attempts=_first(facts.attempt, facts.delivery_count, _spring_attempts(record.headers)),
        deadline_ms=_time(facts.deadline_ms),
        origin_topic=origin[0],
        origin_partition=origin[1],
        origin_offset=origin[2],
        failed_topic=failed[0],
        failed_partition=failed[1],
        failed_offset=failed[2],
        replay_count=facts.replay_count,
        replay_id=facts.replay_id,
        family=family(record.headers).value,
        format=found.format,
        key=None if record.key is None else readable(record.key),
        size=len(record.value or b""),
        headers=_header_text(record.headers),
        value=_value_text(record, found),
    )


_NOWHERE = (None, None, None)
_LAST_MS = 253_402_300_799_999
"""The end of the year 9999. What is later than any calendar is no time, but a header that somebody damaged."""


def _time(milliseconds: int | None) -> int | None:
    return milliseconds if milliseconds is not None and 0 <= milliseconds <= _LAST_MS else None


def readable(data: bytes) -> str:
    """Bytes as text where they are text for people, else as `0x` and hex digits."""
    try:
        text = data.decode()
    except UnicodeDecodeError:
        return f"0x{data.hex()}"
    if text.isprintable() or text.translate(_LINES).isprintable():
        return text
    return f"0x{data.hex()}"


_LINES = dict.fromkeys(map(ord, "\t\r\n"))


def header_value(name: str, value: bytes | None) -> str | None:
    """A header as it may be shown: Spring's binary numbers as numbers, secrets masked, long ones cut."""
    if value is None:
        return None
    return MASK if is_secret_name(name) else redact(_raw_header(name, value))


def _raw_header(name: str, value: bytes) -> str:
    if name in _BINARY_NUMBERS and len(value) in (4, 8):
        return str(int.from_bytes(value, "big", signed=True))
    cut = value[:_MAX_HEADER_BYTES]
    return readable(value) if cut == value else f"{cut.decode('utf-8', 'replace')}…"


_BINARY_NUMBERS = frozenset(
    {
        *(f"kafka_dlt-original-{name}" for name in ("partition", "offset", "timestamp")),
        *(f"kafka_original-{name}" for name in ("partition", "offset", "timestamp")),
        *(f"retry_topic-{name}" for name in ("attempts", "original-timestamp", "backoff-timestamp")),
    }
)


def _undecoded(value: bytes) -> Content:
    text = readable(value)
    return Content("binary", None) if text.startswith("0x") else Content("text", text)


def _spring_attempts(headers: Headers) -> int | None:
    value = next((value for name, value in headers if name == _SPRING_ATTEMPTS), None)
    return None if value is None or len(value) != 4 else int.from_bytes(value, "big", signed=True)


def _header_text(headers: Headers) -> str:
    """The headers that are no fields of their own, as JSON text."""
    kept = {
        name: None if value is None else _raw_header(name, value)
        for name, value in headers
        if not _has_its_field(name)
    }
    return orjson.dumps(kept).decode() if kept else "{}"


@functools.lru_cache(maxsize=4096)
def _has_its_field(name: str) -> bool:
    return name.startswith(_FIELDS_OF_THEIR_OWN) or name.endswith("stacktrace")


_FIELDS_OF_THEIR_OWN = (h.PREFIX, "__dlq.errors.")


def _value_text(record: Received, found: Content) -> str | None:
    """The value as JSON text, where it is JSON and short enough to keep."""
    if record.value is None or found.format not in _KEPT or len(record.value) > MAX_INDEXED_BYTES:
        return None
    text = jsontext.dumps(found.data)
    return text.decode() if len(text) <= MAX_INDEXED_BYTES else None


_redacted = functools.lru_cache(maxsize=4096)(redact)  # like errors have the same text, thousands of times
_KEPT = frozenset({"json", "avro"})


def _first(*values: int | None) -> Any:
    return next((value for value in values if value is not None), None)


def _text(value: object) -> str | None:
    return value[:_MAX_ID_CHARS] if isinstance(value, str) else None


def _short(exception: str | None) -> str | None:
    """`DataException` of `org.apache.kafka.connect.errors.DataException`."""
    return None if exception is None else exception.rpartition(".")[2]


def _lower(text: str | None) -> str | None:
    return None if text is None else text.lower()
