"""Turning what a user types or pipes in into records on the requests topic."""

import json
import sys
import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from schemas.codec import decode_request
from schemas.errors import DecodeError
from workers.core.clock import Clock
from workers.core.errors import UsageError
from workers.core.records import Outgoing

_MOST_BYTES_A_LINE = 32 * 1024 * 1024


@dataclass(frozen=True, slots=True)
class Envelope:
    """A request ready to be produced."""

    message_id: str | None  # None: a raw line, which may be anything
    record: Outgoing


def from_text(text: str, source: str, topic: str, clock: Clock) -> Envelope:
    """An envelope around one text."""
    return _envelope(
        json.dumps({"payload": {"text": text}}, ensure_ascii=False).encode(), "--text", source, topic, clock
    )


def from_lines(file: Path | None, source: str, topic: str, clock: Clock, *, raw: bool) -> Iterator[Envelope]:
    """Envelopes from JSON lines of a file, or of standard input where `file` is None; empty lines are passed over.

    Raises `UsageError` with file and line at the first line that is no envelope; `raw` takes every line as it is.
    """
    name = str(file) if file else "standard input"
    try:
        with file.open("rb") if file else sys.stdin.buffer as lines:
            for number, line in enumerate(lines, start=1):
                value = line.rstrip(b"\r\n")
                if not value.strip():
                    continue
                if len(value) > _MOST_BYTES_A_LINE:
                    raise UsageError(f"{name}:{number}: the line is larger than 32 MiB")
                if raw:
                    yield Envelope(_id_of(value), Outgoing(topic, None, value))
                else:
                    yield _envelope(value, f"{name}:{number}", source, topic, clock)
    except OSError as error:
        raise UsageError(f"can't read {name}: {error.strerror}") from error


def _envelope(value: bytes, place: str, source: str, topic: str, clock: Clock) -> Envelope:
    value = _completed(value, source, clock)
    try:
        request = decode_request(value, ()).request
    except DecodeError as error:
        raise UsageError(f"{place}: {error}; --raw sends lines as they are") from error
    payload = request.payload
    key = payload.session_id or payload.user_id or request.message_id
    return Envelope(request.message_id, Outgoing(topic, key.encode(), value))


def _completed(value: bytes, source: str, clock: Clock) -> bytes:
    """Fill in id, source and time where the line leaves them out; a complete line stays byte for byte."""
    fields = _object(value)
    if fields is None:
        return value
    missing: dict[str, Any] = {
        "message_id": f"req_{uuid.uuid4().hex}",
        "source": source,
        "timestamp": round(clock.wall(), 3),
    }
    if all(name in fields for name in missing):
        return value
    return json.dumps({**missing, **fields}, ensure_ascii=False).encode()


def _object(value: bytes) -> dict[str, Any] | None:
    try:
        fields = json.loads(value)
    except (ValueError, RecursionError):
        return None
    return fields if isinstance(fields, dict) else None


def _id_of(value: bytes) -> str | None:
    message_id = (_object(value) or {}).get("message_id")
    return message_id if isinstance(message_id, str) else None
