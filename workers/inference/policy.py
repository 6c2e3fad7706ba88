"""What the topology says about the messages of one target."""

from dataclasses import dataclass, field

from workers.core.topology.fallback import Fallback
from workers.policies.cost import Tariff
from workers.policies.fallback import Fit
from workers.policies.permits import Permits
from workers.policies.retry import RetryPolicy


@dataclass(frozen=True, slots=True)
class TargetPolicy:
    """What the topology says about one target's messages. Times are seconds."""

    name: str
    timeout: float
    expires_after: float | None
    retry: RetryPolicy
    fallback: tuple[str, ...] = ()  # where messages go while every breaker is open
    chains: Fallback = Fallback()  # noqa: RUF009 - nobody changes it
    fit: Fit | None = None  # into the context length
    tariff: Tariff | None = None
    permits: Permits = field(default_factory=dict)  # which targets a message may fall back to
