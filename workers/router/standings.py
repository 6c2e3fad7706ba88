"""How the router's partitions stand, asked of the broker: a partition that is no longer fetched must not look idle."""

import asyncio

import structlog

from workers.core.ports import Admin
from workers.core.records import TopicPartition
from workers.router.progress import Standing
from workers.router.reading import Reading

log = structlog.get_logger()


async def look(
    reading: Reading, admin: Admin, topic: str, seconds: float
) -> dict[TopicPartition, Standing] | None:
    """The standing of each partition assigned; None where Kafka does not say so within `seconds`."""
    try:
        async with asyncio.timeout(seconds):
            return reading.standings(await admin.end_offsets([topic]))
    except Exception as error:  # noqa: BLE001 - whatever Kafka says, the next look asks again
        log.warning("standings_unknown", error=repr(error))
        return None
