"""Refuses before anything is produced what the workers would refuse: limits and budgets of tenants that say `refuse`."""

import structlog

from workers.core.clock import Clock
from workers.core.errors import UnreachableError
from workers.core.ports import LimitStore
from workers.gateway.refusals import throttled
from workers.policies.quota import Demand, Quotas

log = structlog.get_logger()

_ANYTHING = Demand(1, 1)
"""Whether anything is left: how much a message takes, its worker knows, who draws it and has the last word."""


class Doorkeeper:
    """Looks at a tenant's limits, and takes nothing. Where the store is away, everybody comes in."""

    def __init__(self, quotas: Quotas, store: LimitStore, clock: Clock) -> None:
        self._quotas = quotas
        self._store = store
        self._clock = clock

    async def check(self, tenant: str | None) -> None:
        """Raises `RefusalError` with the seconds until there is room."""
        gauges = [
            gauge
            for gauge in self._quotas.gauges(tenant, _ANYTHING, self._clock.wall())
            if gauge.exceeded == "refuse"
        ]
        if not gauges:
            return
        try:
            drawn = await self._store.look([gauge.draw for gauge in gauges])
        except UnreachableError as error:
            log.warning("limits_unknown", error=str(error), so="the workers decide")
            return
        if drawn.which is not None:
            gauge = gauges[drawn.which]
            period = "today" if gauge.kind == "money" else "this minute"
            raise throttled(f"you have used up your {gauge.kind} for {period}", max(0.001, drawn.wait))
