"""One dead letter in full: what is known, its value as far as it may be seen, and where it came from."""

from typing import Any

from dlq_tools.avro_files import NONE, AvroFiles
from dlq_tools.causes import likely_cause
from dlq_tools.columns import IndexedLetter
from dlq_tools.history import history
from dlq_tools.ledger_records import Letter
from dlq_tools.reading import Content, content, header_value, indexed, readable
from dlq_tools.session import Session
from workers.core.errors import UsageError
from workers.core.records import Received, TopicPartition

_OPEN = frozenset({"message_id", "source", "timestamp"})
"""Of an envelope, what names and times it: shown without `--show-payload`."""


def parse_position(text: str) -> tuple[TopicPartition, int]:
    """Read `TOPIC:PARTITION:OFFSET`. Raises `UsageError`."""
    topic, _, rest = text.partition(":")
    partition, _, offset = rest.partition(":")
    if not topic or not all(part.isdecimal() and len(part) < _DIGITS for part in (partition, offset)):
        raise UsageError(f"{text!r} is no position: give TOPIC:PARTITION:OFFSET, as `dlq peek` prints them")
    return TopicPartition(topic, int(partition)), int(offset)


_DIGITS = 19


async def explain(
    session: Session, record: Received, schemas: AvroFiles = NONE, *, reveal: bool, events: bool
) -> dict[str, Any]:
    """Everything there is to tell of a letter.

    `original` says where it was first, and whether it is still there; `ledger` what became of it, by whom and why.
    """
    known = indexed(record, schemas)
    told = letter(record, schemas, reveal=reveal)
    told["cause"] = likely_cause(known.error_class, known.exception, known.message)
    told["original"] = await _original(session, known)
    ledger = await session.ledger()
    if ledger is not None:
        told["ledger"] = ledger.standing(Letter(*record[:3]))
    if events:
        told["history"] = await history(
            session.admin, session.open_reader, session.clock, session.names.logs, known
        )
    return told


async def _original(session: Session, known: IndexedLetter) -> dict[str, Any] | None:
    if known.origin_topic is None or known.origin_partition is None or known.origin_offset is None:
        return None
    place = TopicPartition(known.origin_topic, known.origin_partition)
    there = False
    if place.topic in await session.admin.topics([place.topic]):
        first, end = (await session.admin.end_offsets([place.topic])).get(place, (0, 0))
        there = first <= known.origin_offset < end
    return {"position": f"{place}:{known.origin_offset}", "still_there": there}


def letter(record: Received, schemas: AvroFiles = NONE, *, reveal: bool) -> dict[str, Any]:
    """Everything there is to print of a record; without `reveal` key and value are masked."""
    found = content(record.value, record.headers, schemas)
    return {
        **indexed(record, schemas).public(),
        "key": shown_key(None if record.key is None else readable(record.key), reveal=reveal),
        "value": shown_value(found, record.value, reveal=reveal),
        "headers": {name: header_value(name, value) for name, value in record.headers},
    }


def shown_key(key: str | None, *, reveal: bool) -> str | None:
    """A key: often the id of a person or a session."""
    return key if reveal or key is None else f"‹{len(key)} characters›"


def shown_value(found: Content, raw: bytes | None, *, reveal: bool) -> Any:
    """A value in JSON types, its text, or the hex digits of its bytes; masked, its shape."""
    if raw is None:
        return None
    if found.format == "binary":
        return f"0x{raw.hex()}" if reveal else f"‹{len(raw)} bytes›"
    return found.data if reveal else masked(found.data)


def masked(data: Any, *, top: bool = True) -> Any:
    """The shape of a value, with its texts and numbers left out."""
    match data:
        case dict():
            return {
                name: item
                if top and name in _OPEN and not isinstance(item, dict | list)
                else masked(item, top=False)
                for name, item in data.items()
            }
        case list():
            return [masked(item, top=False) for item in data]
        case str():
            return f"‹{len(data)} characters›"
        case bool() | None:
            return data
        case _:
            return "‹number›"
