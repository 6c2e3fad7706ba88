"""Outcomes published one by one, where together none could be: a record of them is too large for its topic."""

from collections.abc import Sequence

import structlog

from workers.core.errors import PermanentError
from workers.core.ports import Publisher
from workers.inference.message import Message
from workers.inference.settle import Settled, Settlement

log = structlog.get_logger()

Entry = tuple[Message, Settled]


async def one_by_one(publisher: Publisher, settlement: Settlement, batch: Sequence[Entry]) -> list[Entry]:
    """Publish each by itself; gives what was published. Raises as `deliver` does, but for what is too large."""
    return [(message, await _alone(publisher, settlement, message, settled)) for message, settled in batch]


async def _alone(publisher: Publisher, settlement: Settlement, message: Message, settled: Settled) -> Settled:
    """Publish one message's outcome, or what can be published in its place."""
    while True:
        try:
            await publisher.deliver(settled.records)
        except PermanentError as refusal:
            instead = settlement.refused(message, settled, refusal)
            if instead is None:
                log.error(  # noqa: TRY400 - the refusal says all there is
                    "outcome_unpublishable", position=message.record.position, reason=refusal.reason
                )
                return settled
            settled = instead
        else:
            return settled
