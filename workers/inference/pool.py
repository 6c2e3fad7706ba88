"""The instances of a target: which one takes an attempt, and when there is room for more.

The one seam for balancing, breakers and adaptive limits: an attempt takes a slot and gives it back with what became
of it. Nobody else knows how many instances there are.
"""

import asyncio
import random
from collections import deque
from collections.abc import Awaitable, Callable, Sequence

from schemas.fleet_state import InstanceState
from workers.core.clock import LOOP_SLACK, Clock, SystemClock
from workers.core.errors import MessageError
from workers.core.metrics import Metrics
from workers.core.ports import Backend
from workers.inference.instance import Instance, PoolRules, Seat
from workers.policies.balance import Balancer
from workers.policies.breaker import State

__all__ = ["Pool", "PoolRules", "Seat", "Slot", "TurnedAwayError"]


class TurnedAwayError(Exception):
    """Every instance is out of service, and the topology says not to wait."""


class Slot:
    """The right to make one call of one instance; or, without an instance, the word that there is none to call."""

    __slots__ = ("_instance", "ticket")

    def __init__(self, instance: Instance | None, ticket: int = 0) -> None:
        self._instance = instance
        self.ticket = ticket

    @property
    def instance(self) -> Instance:
        """The one to call. Raises `TurnedAwayError` where there is none."""
        if self._instance is None:
            raise TurnedAwayError
        return self._instance

    @property
    def taken(self) -> bool:
        """Whether it has to be given back."""
        return self._instance is not None

    @property
    def backend(self) -> Backend:
        """What to call. Raises `TurnedAwayError`."""
        return self.instance.backend


_AWAY = Slot(None)


class Pool:
    """Calls of one target: each instance up to its limit and while its breaker lets them."""

    def __init__(
        self,
        target: str,
        seats: Sequence[Seat],
        metrics: Metrics,
        rules: PoolRules | None = None,
        clock: Clock | None = None,
        rng: random.Random | None = None,
    ) -> None:
        rules = rules or PoolRules()
        self._clock: Clock = clock or SystemClock()
        self._instances = [Instance(seat, target, rules, metrics, self._clock) for seat in seats]
        self._by_name = {instance.member.name: instance for instance in self._instances}
        self._balancer = Balancer(rules.balance, rng or random.Random())  # noqa: S311 - balancing, no secret
        self._waits = rules.waits
        self._waiters: deque[tuple[asyncio.Future[Slot], bytes | None, str | None]] = deque()
        self._on_room: Callable[[], None] = lambda: None
        self._timer: asyncio.TimerHandle | None = None

    @property
    def capacity(self) -> int:
        """How many calls may be under way at once."""
        return sum(instance.member.limit for instance in self._instances)

    @property
    def calls(self) -> int:
        """How many calls are under way."""
        return sum(instance.member.calls for instance in self._instances)

    @property
    def out_of_service(self) -> bool:
        """Whether no instance's breaker is closed: calls wait, or try one at a time."""
        return all(instance.breaker.state is not State.CLOSED for instance in self._instances)

    @property
    def room(self) -> bool:
        """Whether `take` would give a slot to a new message. Messages that wait for another attempt come first."""
        if self._waiters:
            return False
        for instance in self._instances:
            if instance.free:
                return True
        return self._turns_away()

    def states(self) -> list[InstanceState]:
        """How the instances stand."""
        return [
            InstanceState(
                name=instance.member.name,
                breaker=instance.breaker.state.label,
                calls=instance.member.calls,
                limit=instance.member.limit,
                latency=instance.member.latency.current(self._clock.monotonic()),
            )
            for instance in self._instances
        ]

    def when_room(self, callback: Callable[[], None]) -> None:
        """Call this whenever a slot has become free and nobody waits for it."""
        self._on_room = callback

    def take(self, key: bytes | None) -> Slot | None:
        """A slot for a call of a message with this key; never None while there is `room`."""
        return self._choose(key, None)

    def wait(self, key: bytes | None, avoid: str | None = None) -> "asyncio.Future[Slot]":
        """A slot, first come first served; of another instance than `avoid` where there is room. See `waiting.acquire`."""
        future: asyncio.Future[Slot] = asyncio.get_running_loop().create_future()
        slot = self._choose(key, avoid) if not self._waiters else None
        if slot is not None:
            future.set_result(slot)
        else:
            self._waiters.append((future, key, avoid))
        return future

    def forget(self, future: "asyncio.Future[Slot]") -> None:
        """Whoever waited does not want its slot any more."""
        if future.done() and not future.cancelled():
            self.give_up(future.result())

    def give_back(self, slot: Slot, failure: MessageError | None, seconds: float) -> None:
        """The call is over: answered in `seconds`, or failed."""
        slot.instance.end(slot.ticket, failure, seconds)
        if slot.instance.breaker.state is State.OPEN:
            self._look_again()
        self._serve()

    def give_up(self, slot: Slot) -> None:
        """The slot was not used, or its call was abandoned: that says nothing about the instance."""
        if slot.taken:
            slot.instance.abandon(slot.ticket)
        self._serve()

    def close(self) -> Awaitable[object]:
        """Let go of the instances' connections."""
        if self._timer is not None:
            self._timer.cancel()
        return asyncio.gather(*[instance.backend.close() for instance in self._instances])

    def _choose(self, key: bytes | None, avoid: str | None) -> Slot | None:
        free = [instance for instance in self._instances if instance.free]
        if not free:
            return _AWAY if self._turns_away() else None
        instance = free[0]
        if len(free) > 1:
            members = [one.member for one in free]
            member = self._balancer.choose(members, self._clock.monotonic(), key=key, avoid=avoid)
            instance = self._by_name[member.name]
        return Slot(instance, instance.begin())

    def _turns_away(self) -> bool:
        """Whether messages are turned away: not where an instance is merely busy."""
        if self._waits:
            return False
        now = self._clock.monotonic()
        return not any(instance.breaker.allows(now) for instance in self._instances)

    def _serve(self) -> None:
        """Give slots to those who wait, then tell that there is room."""
        while self._waiters:
            future, key, avoid = self._waiters[0]
            if future.done():
                self._waiters.popleft()
                continue
            slot = self._choose(key, avoid)
            if slot is None:
                return
            self._waiters.popleft()
            future.set_result(slot)
        if self.room:
            self._on_room()

    def _look_again(self) -> None:
        """See to it that somebody notices when the first open breaker lets calls through again."""
        if self._timer is not None:
            self._timer.cancel()
        now = self._clock.monotonic()
        open_ones = [one.breaker for one in self._instances if one.breaker.state is State.OPEN]
        waits = [breaker.retry_at - now for breaker in open_ones if not breaker.allows(now)]
        if waits:
            self._timer = asyncio.get_running_loop().call_later(max(LOOP_SLACK, min(waits)), self._wake)

    def _wake(self) -> None:
        self._timer = None
        self._serve()
        self._look_again()
