"""Outcomes in Redis, shared by all workers of a fleet."""

from workers.stores.redis_leases import RedisLeases
from workers.stores.redis_operations import Script


class RedisOutcomeStore(RedisLeases):
    """See `core.ports.OutcomeStore`. `window`, `lease` and `timeout` in seconds."""

    def __init__(
        self, url: str, *, window: float, lease: float, timeout: float = 2.0, prefix: str = "relayfleet:once:"
    ) -> None:
        times = (int(lease * 1000), int(window * 1000))
        super().__init__(url, Script("outcomes.lua", [f"{prefix}token"], times, f"{prefix}id:"), timeout)
