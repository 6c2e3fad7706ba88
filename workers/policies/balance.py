"""Which instance takes a call. Pure: times are seconds of a monotonic clock, chance is a parameter."""

import hashlib
import math
import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Literal

Strategy = Literal["p2c", "least_inflight", "session"]

LATENCY_MEMORY = 10.0
"""Seconds after which a latency counts for 1/e beside newer ones."""

LATENCY_FADES = 60.0
"""Seconds without a call after which a latency is taken for 1/e of it: an instance that was slow is tried again."""

WORST_LATENCY = 60.0
"""Seconds: where penalties for failures end."""

BOUND = 1.25
"""Session affinity: no instance holds more than so many times its share of the calls."""

SMALLEST_START = 0.1
"""The share of its weight and concurrency with which an instance returns."""


class Latency:
    """How long an instance takes: rises at once, falls slowly, and fades while nothing is heard.

    A failure counts as twice the present value at least, however fast it came: an instance that refuses everything
    would otherwise be the fastest.
    """

    __slots__ = ("_at", "_value")

    def __init__(self) -> None:
        self._value: float | None = None
        self._at = 0.0

    def observe(self, seconds: float, now: float, *, failed: bool = False) -> None:
        """Enter a call that ended now."""
        present = self.current(now)
        if failed:
            seconds = min(WORST_LATENCY, max(seconds, 2 * (present or 0.05)))
        if present is None or seconds > present:
            self._value = seconds
        else:
            fresh = 1 - math.exp(-max(0.0, now - self._at) / LATENCY_MEMORY)
            self._value = present + max(fresh, 0.05) * (seconds - present)
        self._at = now

    def current(self, now: float) -> float | None:
        """Seconds; None before the first call."""
        if self._value is None:
            return None
        return self._value * math.exp(-max(0.0, now - self._at) / LATENCY_FADES)


@dataclass(frozen=True, slots=True)
class BalancePolicy:
    """How to choose, and the seconds that an instance takes from its return to its full share."""

    strategy: Strategy = "p2c"
    slow_start: float = 15.0


@dataclass(slots=True)
class Member:
    """What balancing knows about one instance. `limit`: calls at once; `returned_at`: when its breaker closed again."""

    name: str
    weight: float = 1.0
    limit: int = 64
    calls: int = 0
    returned_at: float | None = None
    latency: Latency = field(default_factory=Latency)

    def share(self, now: float, slow_start: float) -> float:
        """How much of its weight and limit it may use by now: it grows from a tenth to 1."""
        if self.returned_at is None:
            return 1.0
        passed = (now - self.returned_at) / slow_start if slow_start > 0 else 1.0
        if passed >= 1.0:
            self.returned_at = None
            return 1.0
        return max(SMALLEST_START, passed)

    def capacity(self, now: float, slow_start: float) -> int:
        """Calls at once that it takes by now."""
        return (
            self.limit if self.returned_at is None else max(1, int(self.limit * self.share(now, slow_start)))
        )


class Balancer:
    """Chooses among members that have room. Stateless but for its dice."""

    def __init__(self, policy: BalancePolicy, rng: random.Random) -> None:
        self._policy = policy
        self._rng = rng
        self._choose: Callable[[Sequence[Member], float], Member] = (
            self._least_inflight if policy.strategy == "least_inflight" else self._p2c
        )

    def choose(
        self, members: Sequence[Member], now: float, *, key: bytes | None = None, avoid: str | None = None
    ) -> Member:
        """The one to call, of one member at least. The one to avoid only where there is no other.

        With session affinity and a `key`, the same key comes to the same member as long as that has room within its
        bound, and a member that leaves moves only its own keys.
        """
        if avoid is not None:
            members = [member for member in members if member.name != avoid] or members
        if len(members) == 1:
            return members[0]
        if self._policy.strategy == "session" and key is not None:
            return _by_session(members, key)
        return self._choose(members, now)

    def _weight(self, member: Member, now: float) -> float:
        if member.returned_at is None:
            return member.weight
        return member.weight * member.share(now, self._policy.slow_start)

    def _draw(self, weights: Sequence[float]) -> int:
        """An index, by weight."""
        left = self._rng.random() * sum(weights)
        for index, weight in enumerate(weights):
            left -= weight
            if left < 0:
                return index
        return len(weights) - 1

    def _least_inflight(self, members: Sequence[Member], now: float) -> Member:
        weights = [self._weight(member, now) for member in members]
        loads = [member.calls / weight for member, weight in zip(members, weights, strict=True)]
        least = min(loads)
        tied = [index for index, load in enumerate(loads) if load <= least]
        return members[tied[self._draw([weights[index] for index in tied])]]

    def _p2c(self, members: Sequence[Member], now: float) -> Member:
        weights = [self._weight(member, now) for member in members]
        one, other = self._two(weights)
        latencies = members[one].latency.current(now), members[other].latency.current(now)
        unknown = latencies[0] or latencies[1] or 1.0
        first, second = weights[one] / (latencies[0] or unknown), weights[other] / (latencies[1] or unknown)
        busy, busier = members[one].calls, members[other].calls
        if busy == busier == 0:
            # Nothing to compare but speed. By chance, or the slower one would never be heard of again.
            odds = first**2 / weights[one], second**2 / weights[other]
            return members[(one, other)[self._draw(odds)]]
        return members[one if (busy + 1) / first <= (busier + 1) / second else other]

    def _two(self, weights: Sequence[float]) -> tuple[int, int]:
        """Two different ones, by weight, in random order."""
        first = self._draw(weights)
        rest = list(weights)
        rest[first] = 0.0
        return first, self._draw(rest)


def _by_session(members: Sequence[Member], key: bytes) -> Member:
    """Rendezvous hashing with bounded load: the key's favourite among those below their bound."""
    calls = 1 + sum(member.calls for member in members)
    weights = sum(member.weight for member in members)
    below = [member for member in members if member.calls < bound(member, calls, weights)]
    return max(below, key=lambda member: _affinity(member, key))


def bound(member: Member, calls: int, weights: float) -> int:
    """Calls that a member may hold, of `calls` in all, with its share of all `weights`."""
    return math.ceil(BOUND * calls * member.weight / weights)


def _affinity(member: Member, key: bytes) -> float:
    digest = hashlib.blake2b(member.name.encode() + b"\0" + key, digest_size=8).digest()
    uniform = (int.from_bytes(digest) + 1) / (2**64 + 2)
    return -member.weight / math.log(uniform)
