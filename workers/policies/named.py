"""A target that a message names itself, which goes before every rule."""

from collections.abc import Iterable

from schemas import headers as h
from schemas.headers import Headers
from workers.core.topology.problems import did_you_mean

NAMED = "named"
"""The rule that a response tells for such a message."""


def named_target(headers: Headers) -> str | None:
    """The target that a message names. One that a rule has chosen for it before is not named by the message."""
    if not headers:
        return None
    target = h.get(headers, h.TARGET)
    return target if target is not None and h.get(headers, h.ROUTE) in (None, NAMED) else None


def no_such_target(target: str, known: Iterable[str]) -> str:
    """What to tell somebody who named a target that is none."""
    advice = did_you_mean(target, known) or "name none, and the routes choose"
    return f"the message names the target {target[:100]!r}, and there is no such one; {advice}"
