"""The typed form of `limits` and `budget`: how much may be asked for, and what becomes of what is too much."""

from decimal import Decimal
from typing import Annotated, Literal

from pydantic import AfterValidator, Field

from workers.core.topology.base import Strict
from workers.core.topology.pricing import Amount
from workers.core.topology.values import Count

Exceeded = Literal["wait", "refuse"]
"""`wait`: until there is room again, in Kafka and without a failed attempt. `refuse`: an error response at once."""
PerMinute = Annotated[Count, Field(ge=1, le=1_000_000_000)]


def some_money(value: Decimal) -> Decimal:
    """Refuse nothing: who may spend nothing should not be asked at all."""
    if not value:
        raise ValueError("must be greater than 0")
    return value


class Limits(Strict):
    """How many requests, and how many tokens of prompts and answers together, in a minute; a minute's worth at once."""

    requests_per_minute: PerMinute | None = None
    tokens_per_minute: PerMinute | None = None
    exceeded: Exceeded = "wait"


class Budget(Strict):
    """What may be spent in a day, which begins at midnight UTC, in the topology's currency."""

    per_day: Annotated[Amount, AfterValidator(some_money)]
    exceeded: Exceeded = "wait"
