"""Whose turn it is: among tenants by their weights, and between what somebody waits for and what nobody does.

Each flow (the messages of one tenant and priority) is first in, first out. A flow that comes with little is served at
once, however much another has waiting: it pays for its own messages alone. Start-time fair queueing: a flow's next turn
is at its virtual time, which moves on by cost / weight with each message.
"""

from collections import deque
from collections.abc import Callable, Hashable, Iterable, Iterator
from dataclasses import dataclass, field
from heapq import heappop, heappush
from typing import Generic, NamedTuple, TypeVar

T = TypeVar("T")

INTERACTIVE, BATCH = 0, 1
_SHARES = (9.0, 1.0)
"""Of interactive and batch while both wait: nobody starves."""


class Flow(NamedTuple):
    """Whose message it is, how heavily they count, and whether somebody waits for it."""

    tenant: Hashable
    weight: float = 1.0
    priority: int = INTERACTIVE


@dataclass(slots=True)
class _Clock:
    """Virtual time of the turns of some keys. A key that was idle starts at now: it saves nothing up."""

    now: float = 0.0
    next_turn: dict[Hashable, float] = field(default_factory=dict)
    heap: list[tuple[float, int, Hashable]] = field(default_factory=list)
    _count: int = 0

    def wake(self, key: Hashable) -> None:
        """The key has something to do."""
        self._push(key, max(self.now, self.next_turn.get(key, 0.0)))

    def turn(self) -> Hashable:
        """Whose turn it is; it is taken off until `wake` or `spent`."""
        self.now, _, key = heappop(self.heap)
        return key

    def spent(self, key: Hashable, cost: float, *, more: bool) -> None:
        """The key's turn cost so much; `more`: it has something to do still."""
        after = self.now + cost
        self.next_turn[key] = after
        if more:
            self._push(key, after)
        elif not self.heap:  # nobody waits any more: nothing is owed
            self.now = after
            self.next_turn.clear()
        elif len(self.next_turn) > 2 * len(self.heap) + 64:
            self.next_turn = {name: at for name, at in self.next_turn.items() if at > self.now}

    def _push(self, key: Hashable, at: float) -> None:
        self._count += 1
        heappush(self.heap, (at, self._count, key))


class FairQueue(Generic[T]):
    """A queue with the methods of a deque that `Lanes` uses; `flow_of` and `cost_of` look at an item once, as it comes."""

    def __init__(self, flow_of: Callable[[T], Flow], cost_of: Callable[[T], float] = lambda _: 1.0) -> None:
        self._flow_of = flow_of
        self._cost_of = cost_of
        self._priorities = _Clock()
        self._tenants: dict[int, _Clock] = {}
        self._flows: dict[Flow, deque[T]] = {}
        self._waiting: dict[int, int] = {INTERACTIVE: 0, BATCH: 0}

    def __len__(self) -> int:
        return sum(self._waiting.values())

    def __bool__(self) -> bool:
        return bool(self._flows)

    def __iter__(self) -> Iterator[T]:
        for flow in self._flows.values():
            yield from flow

    def append(self, item: T) -> None:
        """Let an item wait for its turn."""
        flow = self._flow_of(item)
        items = self._flows.get(flow)
        if items is None:
            items = self._flows[flow] = deque()
            self._tenants.setdefault(flow.priority, _Clock()).wake(flow)
        items.append(item)
        if not self._waiting[flow.priority]:
            self._priorities.wake(flow.priority)
        self._waiting[flow.priority] += 1

    def extend(self, items: Iterable[T]) -> None:
        """Several."""
        for item in items:
            self.append(item)

    def popleft(self) -> T:
        """Take the item whose turn it is. Raises `IndexError` where there is none."""
        priority = self._priorities.turn()
        assert isinstance(priority, int)  # noqa: S101 - as appended
        tenants = self._tenants[priority]
        flow = tenants.turn()
        assert isinstance(flow, Flow)  # noqa: S101 - as appended
        items = self._flows[flow]
        item = items.popleft()
        cost = self._cost_of(item)
        if not items:
            del self._flows[flow]
        tenants.spent(flow, cost / flow.weight, more=bool(items))
        self._waiting[priority] -= 1
        more = bool(self._waiting[priority])
        self._priorities.spent(priority, cost / _SHARES[priority], more=more)
        return item

    def clear(self) -> None:
        """Forget everything."""
        self._flows.clear()
        self._tenants.clear()
        self._priorities = _Clock()
        self._waiting = {INTERACTIVE: 0, BATCH: 0}
