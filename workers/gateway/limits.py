"""What is under way and how often a tenant asks, bounded before anything is kept in memory. Times are seconds."""

from collections.abc import Mapping
from dataclasses import dataclass

from workers.core.clock import Clock
from workers.core.topology.gateway import Limits
from workers.core.topology.tenants import Tenant
from workers.gateway.refusals import throttled

_SOON = 1.0  # what is under way ends within about this


@dataclass(slots=True)
class _Bucket:
    """Tokens that come back at `rate` a second, up to `burst`."""

    rate: float
    burst: float
    tokens: float
    at: float


class Admission:
    """Counts requests that somebody waits for, by client and in all, and those of each tenant a second."""

    def __init__(self, limits: Limits, tenants: Mapping[str, Tenant], clock: Clock) -> None:
        self._most = limits.in_flight
        self._most_per_client = limits.in_flight_per_client
        self._clock = clock
        self._total = 0
        self._clients: dict[str, int] = {}
        self.follow(tenants)

    def follow(self, tenants: Mapping[str, Tenant]) -> None:
        """These tenants' rates from now on; what was under way stays counted."""
        now = self._clock.monotonic()
        self._buckets = {
            name: _Bucket(tenant.rate, burst, burst, now)
            for name, tenant in tenants.items()
            if tenant.rate is not None
            for burst in [float(tenant.burst or max(1.0, tenant.rate))]
        }

    @property
    def in_flight(self) -> int:
        """Requests that somebody waits for."""
        return self._total

    def enter(self, client: str, tenant: str | None) -> None:
        """Let one more in; `leave` when it is over. Raises `RefusalError` where it is one too many."""
        if self._total >= self._most:
            raise throttled("too many requests are under way; try again in a moment", _SOON)
        count = self._clients.get(client, 0)
        if count >= self._most_per_client:
            raise throttled(f"{count} of your requests are under way, and no more may be at once", _SOON)
        if tenant is not None:
            self._take(tenant)
        self._total += 1
        self._clients[client] = count + 1

    def leave(self, client: str) -> None:
        """One is over."""
        self._total -= 1
        left = self._clients[client] - 1
        if left:
            self._clients[client] = left
        else:
            del self._clients[client]

    def _take(self, tenant: str) -> None:
        bucket = self._buckets.get(tenant)
        if bucket is None:
            return
        now = self._clock.monotonic()
        bucket.tokens = min(bucket.burst, bucket.tokens + (now - bucket.at) * bucket.rate)
        bucket.at = now
        if bucket.tokens < 1:
            wait = (1 - bucket.tokens) / bucket.rate
            raise throttled(f"{bucket.rate:g} requests a second are allowed, and these were more", wait)
        bucket.tokens -= 1
