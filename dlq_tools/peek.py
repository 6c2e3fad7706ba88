"""`dlq peek`: the latest letters of a selection, a line each."""

from typing import Any

import orjson

from dlq_tools.columns import IndexedLetter
from dlq_tools.filling import fetch
from dlq_tools.looks import record_look
from dlq_tools.reading import content
from dlq_tools.session import Chosen, Session
from dlq_tools.show import shown_key, shown_value

_LATEST = (
    'SELECT partition, "offset" FROM chosen ORDER BY failed_at DESC, partition, "offset" DESC LIMIT {number}'
)


async def latest(session: Session, chosen: Chosen, number: int, *, reveal: bool) -> list[dict[str, Any]]:
    """The letters that failed last, the latest first; revealed, they are put on record."""
    places = list(chosen.index.rows(_LATEST.format(number=int(number)), *chosen.choice))
    if reveal and places:
        await record_look(session, f"{len(places)} letters of {chosen.index.topic} shown", len(places))
    found = [letter for partition, offset in places for letter in chosen.index.letters(partition, [offset])]
    return [await _row(session, letter, reveal=reveal) for letter in found]


async def _row(session: Session, letter: IndexedLetter, *, reveal: bool) -> dict[str, Any]:
    if not reveal:
        return letter.public()
    value: Any = None
    if letter.value is not None:
        value = orjson.loads(letter.value)
    elif letter.format != "null":
        record = await fetch(session.admin, session.open_reader, letter.place, letter.offset)
        value = shown_value(content(record.value, record.headers), record.value, reveal=True)
    return {**letter.public(), "key": shown_key(letter.key, reveal=True), "value": value}
