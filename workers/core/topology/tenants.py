"""The typed form of `tenants`: who may ask, for what, and how much of it."""

import re
from typing import Annotated, Literal

from pydantic import AfterValidator, BeforeValidator, Field

from workers.core.topology.base import Strict, Text, TextList
from workers.core.topology.limits import Budget, Limits
from workers.core.topology.values import Count, Number, one_or_many

_KEY_HASH = re.compile(r"sha256:[0-9a-f]{64}")


def key_hash(value: str) -> str:
    """Refuse what is no hash of a key: a key itself must not stand in the file."""
    if _KEY_HASH.fullmatch(value) is None:
        raise ValueError("is no hash of a key; `relayfleet gateway key new` makes a key and its hash")
    return value


KeyHash = Annotated[str, AfterValidator(key_hash)]


class Tenant(Strict):
    """Somebody who shares the fleet with others, and sees only what is theirs.

    `keys` are hashes of API keys, `certificates` the common names of client certificates. `targets` are those that
    may be used; without them all may. `rate` is requests a second for each gateway, in bursts of `burst`; `limits` and
    `budget` hold for the whole fleet, over all targets. While others wait too, a tenant gets calls by its `weight`, and
    `batch` a tenth of them.
    """

    keys: Annotated[tuple[KeyHash, ...], BeforeValidator(one_or_many)] = Field(default=(), max_length=100)
    certificates: TextList = ()
    targets: TextList = ()
    rate: Number | None = Field(default=None, gt=0, le=1_000_000)
    burst: Count | None = Field(default=None, ge=1, le=1_000_000)
    weight: Number = Field(default=1, gt=0, le=1000)
    priority: Literal["interactive", "batch"] = "interactive"
    limits: Limits | None = None
    budget: Budget | None = None


Tenants = dict[Annotated[Text, Field(max_length=100)], Tenant]
"""By name. The name is what `relay.tenant` says."""
