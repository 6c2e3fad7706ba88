"""How the router's partitions stand, asked of the broker: a partition that is no longer fetched must not look idle."""

import asyncio

import structlog
from faust.types import TP

from workers.core.records import TopicPartition
from workers.router.app import RouterApp
from workers.router.progress import Standing

log = structlog.get_logger()


async def look(app: RouterApp, seconds: float) -> dict[TopicPartition, Standing] | None:
    """The standing of each partition assigned; None where Kafka does not say so within `seconds`."""
    try:
        async with asyncio.timeout(seconds):
            return await _ask(app)
    except Exception as error:  # noqa: BLE001 - whatever Kafka says, the next look asks again
        log.warning("standings_unknown", error=repr(error))
        return None


async def _ask(app: RouterApp) -> dict[TopicPartition, Standing]:
    if app.rebalancing or not app.slices.flow_active:
        return {}
    assigned = app.consumer.assignment()
    if not assigned:
        return {}
    positions = {partition: _position(app, TP(*partition)) for partition in assigned}
    # The broker answers these behind a fetch on the same connection, which may wait for 1.5 s: ask both at once.
    ends, beginnings = await asyncio.gather(
        app.consumer.highwaters(*assigned), app.consumer.earliest_offsets(*assigned)
    )
    standings = {}
    for partition, position in positions.items():
        if position != ends[partition] and await _read_to(app, TP(*partition)) == ends[partition]:
            position = ends[partition]  # what is left are the marks of transactions
        standings[TopicPartition(*partition)] = Standing(position, beginnings[partition], ends[partition])
    return standings


async def _read_to(app: RouterApp, partition: TP) -> int | None:
    """The next offset to be fetched; None while something that was fetched is not finished."""
    ledger = app.slices.ledgers.get(partition)
    return None if ledger is not None and ledger.in_flight else await app.consumer.position(partition)


def _position(app: RouterApp, partition: TP) -> int | None:
    """The next offset that is not finished, as far as this member knows."""
    consumer = app.slices
    ledger = consumer.ledgers.get(partition)
    if ledger is not None and ledger.committable is not None:
        return ledger.committable
    committed: int | None = consumer._committed_offset[partition]  # noqa: SLF001 - Faust has no other way to ask
    return committed
