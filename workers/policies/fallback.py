"""Where a message goes on to that its target did not answer, or is too long for."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from schemas.envelope import Request
from schemas.errors import ErrorClass
from workers.core.topology.fallback import FALLS_BACK, Fallback
from workers.core.topology.model import Target, Topology
from workers.policies.cost import answer_limit, prompt_tokens

_AT_ONCE = frozenset({ErrorClass.RATE_LIMITED, ErrorClass.OVERLOADED})
"""Failures that would be waited for without end: where there is another target, there is no reason to wait."""
_STAYS = frozenset({ErrorClass.CONTENT_FILTER})
"""What one provider's filter refuses is not shown to the next one, unless the topology names it."""


Allowed = frozenset[str] | None
"""The targets that a message's tenant may use; None: all."""


@dataclass(frozen=True, slots=True)
class Chains:
    """The fallbacks of one target. `exists`: whether there is a target of that name."""

    target: str
    when_open: tuple[str, ...]
    lists: Fallback
    exists: Callable[[str], bool]

    def open(self, rest: Sequence[str], allowed: Allowed = None) -> tuple[str, ...]:
        """For a message that found every breaker open. `rest`: where the target that it came from wanted it to go next."""
        return self._known((*rest, *self.when_open), allowed)

    def failed(
        self, error_class: ErrorClass, rest: Sequence[str], allowed: Allowed = None
    ) -> tuple[str, ...]:
        """For a message that failed for good; empty: nowhere."""
        own = self.lists.of(error_class)
        if error_class not in FALLS_BACK or (error_class in _STAYS and not own):
            return ()
        return self._known((*rest, *own), allowed)

    def at_once(self, error_class: ErrorClass, allowed: Allowed = None) -> bool:
        """Whether a failure that could be waited for goes on instead of waiting."""
        return error_class in _AT_ONCE and bool(self._known(self.lists.of(error_class), allowed))

    def _known(self, names: Sequence[str], allowed: Allowed) -> tuple[str, ...]:
        # What a header names may be gone from the topology since, or was made up.
        known = dict.fromkeys(name for name in names if name != self.target and self.exists(name))
        return tuple(name for name in known if allowed is None or name in allowed)


@dataclass(frozen=True, slots=True)
class Fit:
    """Whether a message fits into a target's context, and which of its fallbacks are large enough if it does not."""

    target: Target
    room: int
    larger: tuple[tuple[str, float], ...]  # targets and their context lengths; infinite where unknown

    def elsewhere(self, request: Request, allowed: Allowed = None) -> tuple[str, ...]:
        """The fallbacks that the message should go to instead; empty: it fits, or fits nowhere better."""
        tokens = prompt_tokens(request) + (answer_limit(request, self.target) or 0)
        if tokens <= self.room:
            return ()
        larger = (name for name, room in self.larger if tokens <= room)
        return tuple(name for name in larger if allowed is None or name in allowed)


def fit_of(topology: Topology, target: str) -> Fit | None:
    """None where the target's context length is not known, or nothing larger is named for what is too long."""
    settings = topology.targets[target]
    if settings.context_length is None:
        return None
    lengths = {
        name: topology.targets[name].context_length or math.inf
        for name in settings.fallback.of(ErrorClass.CONTEXT_LENGTH)
        if name in topology.targets
    }
    larger = tuple((name, room) for name, room in lengths.items() if room > settings.context_length)
    return Fit(settings, settings.context_length, larger) if larger else None
