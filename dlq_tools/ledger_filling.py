"""Between the ledger's topic and its index."""

from pathlib import Path

from dlq_tools.filling import OpenReader
from dlq_tools.ledger_index import LedgerIndex
from workers.core.clock import Clock
from workers.core.ports import Admin
from workers.core.records import TopicPartition

_BATCH = 20_000  # records folded before they are written
_WAIT = 0.1


async def fill_ledger(
    admin: Admin, open_reader: OpenReader, clock: Clock, home: Path, topic: str
) -> LedgerIndex | None:
    """The ledger's index, up to where the ledger ends now; None where there is no ledger."""
    if topic not in await admin.topics([topic]):
        return None
    index = LedgerIndex.of(home, (await admin.cluster()).cluster_id, topic)
    with index.alone():
        await _fill(index, admin, open_reader, clock, topic)
    return index


async def _fill(index: LedgerIndex, admin: Admin, open_reader: OpenReader, clock: Clock, topic: str) -> None:
    ledger = TopicPartition(topic, 0)
    bounds = (await admin.end_offsets([topic]))[ledger]
    identity = (await admin.topic_ids([topic])).get(topic, "")
    reached, end = index.begin(bounds, identity, clock.wall()), bounds[1]
    if reached >= end:
        return
    changes, read = index.changes(), 0
    async with open_reader([topic], {ledger: reached}) as reader:
        while reached < end and not reader.at_end:
            for record in await reader.read(_WAIT):
                changes.take(record)
                reached, read = record.offset + 1, read + 1
            if read >= _BATCH:
                index.write(changes, reached)
                read = 0
    index.write(changes, max(reached, end))
