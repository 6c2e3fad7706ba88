"""Which of several equivalent targets takes a message: the cheapest, or the fastest, of those that it fits into."""

import hashlib
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from decimal import Decimal
from typing import Literal

from schemas.envelope import Request
from schemas.fleet_state import InstanceState
from workers.core.topology.model import Target, Topology
from workers.policies.cost import USUAL_ANSWER, Tariff, answer_limit, prompt_tokens, tariff_of

Prefer = Literal["cheapest", "fastest"]

AS_FAST = 1.2
"""So many times the lowest latency still counts as the fastest: a hair's breadth must not move all messages at once."""
TRIED = 0.05
"""Share of the keys that go to a target of which no latency is known yet."""


@dataclass(slots=True)
class Speeds:
    """What the workers measured last: seconds of a call by target, infinite where every instance is out of service."""

    current: Mapping[str, float] = field(default_factory=dict)


def speeds_of(reports: Sequence[Mapping[str, Sequence[InstanceState]]]) -> dict[str, float]:
    """One figure a target from the instances as each worker sees them: their mean, by how many calls they take."""
    found: dict[str, float] = {}
    for target in {target for report in reports for target in report}:
        seen = [instance for report in reports for instance in report.get(target, ())]
        serving = [instance for instance in seen if instance.breaker != "open"]
        measured = [(each.latency, max(1, each.limit)) for each in serving if each.latency is not None]
        if seen and not serving:
            found[target] = math.inf
        elif measured:
            found[target] = sum(latency * limit for latency, limit in measured) / sum(
                limit for _, limit in measured
            )
    return found


@dataclass(frozen=True, slots=True)
class Candidate:
    """One of the targets that a route names."""

    name: str
    target: Target
    tariff: Tariff | None  # None: it costs nothing

    def cost(self, request: Request, prompt: int) -> Decimal:
        """About what the message costs there."""
        if self.tariff is None:
            return Decimal(0)
        return self.tariff.cost(prompt, answer_limit(request, self.target) or USUAL_ANSWER)

    def fits(self, request: Request, prompt: int) -> bool:
        """Whether its context takes the message."""
        room = self.target.context_length
        return room is None or prompt + (answer_limit(request, self.target) or 0) <= room


@dataclass(frozen=True, slots=True)
class Choice:
    """The targets of one route, in the order of the file, which decides where nothing else does."""

    candidates: tuple[Candidate, ...]
    prefer: Prefer
    speeds: Speeds

    @classmethod
    def of(cls, topology: Topology, names: Sequence[str], prefer: Prefer, speeds: Speeds) -> "Choice":
        """Of these targets of the topology."""
        candidates = tuple(
            Candidate(name, topology.targets[name], tariff_of(topology, name)) for name in names
        )
        return cls(candidates, prefer, speeds)

    def within(self, names: frozenset[str]) -> "Choice | None":
        """The same among these targets alone; None where none of its own is one of them."""
        candidates = tuple(each for each in self.candidates if each.name in names)
        return replace(self, candidates=candidates) if candidates else None

    def pick(self, request: Request, key: bytes) -> str:
        """The target for this message; messages of one key stay together as long as nothing changes."""
        prompt = prompt_tokens(request)
        fitting = [each for each in self.candidates if each.fits(request, prompt)]
        if not fitting:
            return max(self.candidates, key=lambda each: each.target.context_length or math.inf).name
        speeds = self.speeds.current
        serving = [each for each in fitting if speeds.get(each.name) != math.inf] or fitting
        if self.prefer == "cheapest":
            return min(serving, key=lambda each: each.cost(request, prompt)).name
        return self._fastest([each.name for each in serving], speeds, key)

    @staticmethod
    def _fastest(names: Sequence[str], speeds: Mapping[str, float], key: bytes) -> str:
        draw = int.from_bytes(hashlib.blake2b(key, digest_size=8).digest(), "big") / 2**64
        unknown = [name for name in names if name not in speeds]
        known = [name for name in names if name in speeds]
        if not known:
            return names[0] if draw >= TRIED else names[int(draw / TRIED * len(names))]
        if unknown and draw < TRIED:
            return unknown[int(draw / TRIED * len(unknown))]
        best = min(speeds[name] for name in known)
        alike = [name for name in known if speeds[name] <= best * AS_FAST]
        return alike[int(draw * len(alike))]
