"""What `fleet_logs` tells about a message, from shortly before it failed on."""

from typing import Any

from dlq_tools.columns import IndexedLetter
from dlq_tools.filling import OpenReader
from schemas.codec import decode_event
from schemas.errors import DecodeError
from workers.core.clock import Clock
from workers.core.ports import Admin, Reader
from workers.core.records import Received

_BUDGET = 5.0  # seconds: a look at one letter must not turn into a search
_BEFORE_MS = 60_000
_WAIT = 0.2


async def history(
    admin: Admin, open_reader: OpenReader, clock: Clock, logs: str, letter: IndexedLetter
) -> list[dict[str, Any]]:
    """The events of the letter's message, oldest first; empty where there are none, or too many to look through."""
    if letter.message_id is None or logs not in await admin.topics([logs]):
        return []
    since = min(letter.timestamp_ms, letter.first_failed_at_ms or letter.failed_at_ms) - _BEFORE_MS
    found = await admin.offsets_at([logs], max(0, since))
    bounds = await admin.end_offsets([logs])
    starts = {place: bounds[place][1] if at is None else at[0] for place, at in found.items()}
    until = clock.monotonic() + _BUDGET
    events: list[dict[str, Any]] = []
    async with open_reader([logs], starts) as reader:
        while clock.monotonic() < until and not reader.at_end:
            events += await _events(reader, letter.message_id)
    return sorted(events, key=lambda event: float(event["timestamp"]))


async def _events(reader: Reader, message_id: str) -> list[dict[str, Any]]:
    told = message_id.encode()
    records = await reader.read(_WAIT)
    near = (record for record in records if told in (record.value or b""))
    return [event for record in near if (event := _event(record)).get("message_id") == message_id]


def _event(record: Received) -> dict[str, Any]:
    try:
        return decode_event(record.value, record.headers).model_dump_wire()
    except DecodeError:
        return {}
