"""`dlq peek`: the latest letters of a selection, a line each."""

from typing import Any

import orjson

from dlq_tools.avro_files import AvroFiles
from dlq_tools.columns import IndexedLetter
from dlq_tools.filling import fetch
from dlq_tools.looks import record_look
from dlq_tools.reading import content
from dlq_tools.session import Chosen, Session
from dlq_tools.show import shown_key, shown_value

_LATEST = 'SELECT partition, "offset", state FROM chosen ORDER BY failed_at DESC, partition, "offset" DESC LIMIT {number}'


async def latest(session: Session, chosen: Chosen, number: int, *, reveal: bool) -> list[dict[str, Any]]:
    """The letters that failed last, the latest first; revealed, they are put on record."""
    places = list(chosen.index.rows(_LATEST.format(number=int(number)), *chosen.choice))
    if reveal and places:
        await record_look(session, f"{len(places)} letters of {chosen.index.topic} shown", len(places))
    by_place: dict[tuple[int, int], IndexedLetter] = {}
    for partition in {partition for partition, _, _ in places}:
        offsets = [offset for number, offset, _ in places if number == partition]
        by_place |= {
            (partition, letter.offset): letter for letter in chosen.index.letters(partition, offsets)
        }
    return [
        {
            "state": state,
            **await _row(session, by_place[partition, offset], chosen.index.schemas, reveal=reveal),
        }
        for partition, offset, state in places
        if (partition, offset) in by_place
    ]


async def _row(
    session: Session, letter: IndexedLetter, schemas: AvroFiles, *, reveal: bool
) -> dict[str, Any]:
    if not reveal:
        return letter.public()
    value: Any = None
    if letter.value is not None:
        value = orjson.loads(letter.value)
    elif letter.format != "null":
        record = await fetch(session.admin, session.open_reader, letter.place, letter.offset)
        found = content(record.value, record.headers, schemas)
        value = shown_value(found, record.value, reveal=True)
    return {**letter.public(), "key": shown_key(letter.key, reveal=True), "value": value}
