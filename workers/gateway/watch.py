"""Whether Kafka is there: asked all the time, so that a request need not wait to find out."""

import asyncio

import structlog

from workers.core.errors import RelayError
from workers.core.ports import Admin
from workers.gateway.refusals import unavailable

log = structlog.get_logger()

_EVERY = 1.0
_RETRY_AFTER = 2.0


class KafkaWatch:
    """Asks the cluster once a second. Between two looks, a delivery that took too long counts as well."""

    def __init__(self, admin: Admin, patience: float) -> None:
        """`patience`: seconds that an answer may take."""
        self._admin = admin
        self._patience = patience
        self._away: str | None = None

    @property
    def away(self) -> bool:
        """Whether nobody answers."""
        return self._away is not None

    def check(self) -> None:
        """Raise `RefusalError` while Kafka is away."""
        if self._away is not None:
            raise unavailable("the fleet can't be reached at the moment; nothing was sent", _RETRY_AFTER)

    def missed(self, why: str) -> None:
        """A delivery was not confirmed in time."""
        if self._away is None:
            log.warning("kafka_away", why=why, so="requests are refused until it answers")
        self._away = why

    async def run(self) -> None:
        """Look, until cancelled."""
        while True:
            await self.look()
            await asyncio.sleep(_EVERY)

    async def look(self) -> None:
        """Look once."""
        try:
            async with asyncio.timeout(self._patience):
                await self._admin.cluster()
        except (RelayError, TimeoutError) as error:
            self.missed(str(error) or "no answer in time")
        else:
            if self._away is not None:
                log.info("kafka_back")
            self._away = None
