"""What a message draws from the limits and budgets of its tenant and its target. Which of them has room, a store knows."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from decimal import ROUND_CEILING, Decimal
from typing import NamedTuple

from schemas.envelope import Request
from workers.core.ports import Draw
from workers.core.topology.limits import Budget, Exceeded, Limits
from workers.core.topology.model import Target, Topology
from workers.policies.cost import USUAL_ANSWER, Tariff, answer_limit, prompt_tokens, tariff_of

BILLIONTHS = Decimal(1_000_000_000)
"""Of the currency: what budgets are counted in."""
_MINUTE = 60.0


class Demand(NamedTuple):
    """What one message takes, in tokens and billionths of the currency: estimated before the call, known after it."""

    tokens: int
    money: int


class Gauge(NamedTuple):
    """One limit or budget that a message draws from. `kind`: requests, tokens or money."""

    kind: str
    scope: str  # `tenant` or `target`
    draw: Draw
    exceeded: Exceeded


@dataclass(frozen=True, slots=True)
class Quota:
    """The limits and the budget of one tenant or target."""

    scope: str
    name: str
    limits: Limits | None
    budget: Budget | None

    def gauges(self, demand: Demand, wall: float) -> list[Gauge]:
        """What there is to draw from at this time (epoch seconds)."""
        found = []
        base = f"{self.scope}:{self.name}"
        if self.limits is not None:
            per_minute = {
                "requests": (self.limits.requests_per_minute, 1),
                "tokens": (self.limits.tokens_per_minute, demand.tokens),
            }
            for kind, (most, amount) in per_minute.items():
                if most is not None:
                    draw = Draw(f"{base}:{kind}", amount, most, rate=most / _MINUTE)
                    found.append(Gauge(kind, self.scope, draw, self.limits.exceeded))
        if self.budget is not None:
            day = datetime.fromtimestamp(wall, UTC).replace(hour=0, minute=0, second=0, microsecond=0)
            ends = (day + timedelta(days=1)).timestamp()
            most = billionths(self.budget.per_day)
            draw = Draw(f"{base}:money:{day:%Y-%m-%d}", demand.money, most, ends_at=ends)
            found.append(Gauge("money", self.scope, draw, self.budget.exceeded))
        return found


@dataclass(frozen=True, slots=True)
class Quotas:
    """The limits and budgets that hold for the messages of one target. Everybody else's are in `tenants`, by name."""

    target: Target | None
    tariff: Tariff | None
    own: Quota | None
    tenants: Mapping[str, Quota]

    def estimate(self, request: Request) -> Demand:
        """What the message will take, before anybody has counted."""
        prompt = prompt_tokens(request)
        answer = answer_limit(request, self.target) or USUAL_ANSWER
        money = 0 if self.tariff is None else billionths(self.tariff.cost(prompt, answer))
        return Demand(prompt + answer, money)

    def gauges(self, tenant: str | None, demand: Demand, wall: float) -> list[Gauge]:
        """Everything that a message of this tenant draws from, the tenant's first."""
        theirs = self.tenants.get(tenant) if tenant is not None else None
        quotas = [quota for quota in (theirs, self.own) if quota is not None]
        return [gauge for quota in quotas for gauge in quota.gauges(demand, wall)]


def quotas_of(topology: Topology, target: str | None) -> Quotas | None:
    """None where nothing is limited. Without a target: what holds whatever the target is."""
    tenants = {
        name: Quota("tenant", name, tenant.limits, tenant.budget)
        for name, tenant in topology.tenants.items()
        if tenant.limits is not None or tenant.budget is not None
    }
    if target is None:
        return Quotas(None, None, None, tenants) if tenants else None
    settings = topology.targets[target]
    own = None
    if settings.limits is not None or settings.budget is not None:
        own = Quota("target", target, settings.limits, settings.budget)
    if own is None and not tenants:
        return None
    return Quotas(settings, tariff_of(topology, target), own, tenants)


def billionths(amount: Decimal) -> int:
    """Money as a whole number, rounded up: nobody gets a token for nothing."""
    return int((amount * BILLIONTHS).to_integral_value(ROUND_CEILING))
