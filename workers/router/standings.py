"""How the router's partitions stand, asked of the broker: a partition that is no longer fetched must not look idle."""

import asyncio

import structlog

from workers.core.errors import UnreachableError, UsageError
from workers.core.ports import Admin
from workers.core.records import TopicPartition
from workers.router.progress import Standing
from workers.router.reading import Reading

log = structlog.get_logger()


async def look(reading: Reading, admin: Admin, seconds: float) -> dict[TopicPartition, Standing] | None:
    """The standing of each partition assigned; None where Kafka does not say so within `seconds`."""
    try:
        async with asyncio.timeout(seconds):
            ends = await admin.readable_ends(reading.partitions)
    except (TimeoutError, UnreachableError, UsageError) as error:
        log.warning("standings_unknown", error=repr(error))
        return None
    return reading.standings(ends)
