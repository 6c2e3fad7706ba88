"""Limits and budgets that could never mean anything."""

from collections.abc import Iterator

from workers.core.topology.limits import Limits
from workers.core.topology.parts import Parts
from workers.core.topology.problems import Fault, Path


def check_limits(parts: Parts) -> Iterator[Fault]:
    """Faults of `limits`, `budget` and `price` of targets and tenants."""
    for name, target in parts.targets.items():
        path: Path = ("targets", name)
        yield from _empty(path, target.limits)
        if target.budget is not None and target.price is None:
            yield _unpriced(path, "this target has no `price`, so nothing is ever spent")
    priced = any(target.price is not None for target in parts.targets.values())
    for name, tenant in parts.tenants.items():
        path = ("tenants", name)
        yield from _empty(path, tenant.limits)
        if tenant.budget is not None and not priced and parts.targets:
            yield _unpriced(path, "no target has a `price`, so nothing is ever spent")


def _empty(path: Path, limits: Limits | None) -> Iterator[Fault]:
    if limits is not None and limits.requests_per_minute is None and limits.tokens_per_minute is None:
        advice = "say `requests_per_minute`, `tokens_per_minute` or both"
        yield Fault((*path, "limits"), "limits nothing", advice, at_key=True)


def _unpriced(path: Path, message: str) -> Fault:
    return Fault((*path, "budget"), message, "give its tokens a `price`", at_key=True)
