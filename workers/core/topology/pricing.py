"""What tokens cost, in money. Decimals from the file to the sum: a price is never a binary fraction."""

import re
from decimal import Decimal, InvalidOperation
from typing import Annotated

from pydantic import AfterValidator, BeforeValidator, PlainSerializer, WithJsonSchema

from workers.core.topology.base import Strict
from workers.core.topology.values import refuse_bool

DECIMALS = 9
"""After the point, of an amount; so a price of a thousand tokens is exact to a billionth of the currency."""
MAX_AMOUNT = Decimal(1_000_000_000)


def parse_amount(value: object) -> object:
    """A number as it was written: 0.1 is a tenth, not the binary fraction next to it."""
    refuse_bool(value)
    if isinstance(value, Decimal | int):
        return value
    try:
        return Decimal(str(value).strip())
    except InvalidOperation:
        raise ValueError("must be an amount of money without its currency, such as 0.15") from None


def countable(value: Decimal) -> Decimal:
    """Refuse what is less than nothing, more than anybody pays, or finer than what is counted."""
    if not value.is_finite() or not 0 <= value <= MAX_AMOUNT:
        raise ValueError(f"must be from 0 to {MAX_AMOUNT:,}")
    if -int(value.normalize().as_tuple().exponent) > DECIMALS:
        raise ValueError(f"must have {DECIMALS} decimals at most")
    return value


Amount = Annotated[
    Decimal,
    BeforeValidator(parse_amount),
    AfterValidator(countable),
    PlainSerializer(float, when_used="json", return_type=float),
    WithJsonSchema({"type": "number", "minimum": 0}),
]
"""Money, in the topology's currency."""


def currency_code(value: str) -> str:
    """Refuse what is not written like a currency of ISO 4217."""
    if re.fullmatch("[A-Z]{3}", value) is None:
        raise ValueError("must be the three capital letters of a currency, such as USD, EUR or CNY")
    return value


Currency = Annotated[str, AfterValidator(currency_code)]
"""ISO 4217's three letters."""


class Price(Strict):
    """What 1,000 tokens cost, of the prompt and of the answer."""

    input: Amount = Decimal(0)
    output: Amount = Decimal(0)
