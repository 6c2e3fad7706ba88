"""Which waiting message may start next: any, or only the first of its key.

A lane is taken from the moment its first message is let through until `done`, so a message that waits for a retry
holds the messages of its own key and nobody else's.
"""

from collections import deque
from collections.abc import Callable, Hashable, Iterable, Iterator
from typing import Generic, Protocol, TypeVar

T = TypeVar("T")


class Queue(Protocol[T]):
    """What is used of a deque."""

    def __len__(self) -> int: ...
    def __iter__(self) -> Iterator[T]: ...
    def append(self, item: T, /) -> None: ...
    def extend(self, items: Iterable[T], /) -> None: ...
    def popleft(self) -> T: ...
    def clear(self) -> None: ...


class Lanes(Generic[T]):
    """Messages that wait for their start. Items added with lane None keep no order and block nobody."""

    def __init__(self, ready: Queue[T] | None = None) -> None:
        """`ready`: which of those that may start is next; without one, the first that came."""
        self._ready: Queue[T] = deque() if ready is None else ready
        self._lanes: dict[Hashable, deque[T]] = {}  # present: taken; its deque: who waits behind
        self._behind = 0

    def __len__(self) -> int:
        """How many items have not started."""
        return len(self._ready) + self._behind

    def add(self, item: T, lane: Hashable | None = None) -> None:
        """Let an item wait for its turn; items of one lane start in the order of their adding, one after the other."""
        if lane is None:
            self._ready.append(item)
            return
        behind = self._lanes.get(lane)
        if behind is None:
            self._lanes[lane] = deque()
            self._ready.append(item)
        else:
            behind.append(item)
            self._behind += 1

    def next(self) -> T | None:
        """Take the item that may start now, if there is one. Its lane stays taken until `done`."""
        return self._ready.popleft() if self._ready else None

    @property
    def ready(self) -> bool:
        """Whether `next` would give an item."""
        return bool(self._ready)

    def done(self, lane: Hashable | None) -> None:
        """The started item of this lane is through: the next of the lane becomes ready. A free lane is left alone."""
        behind = self._lanes.get(lane) if lane is not None else None
        if behind is None:
            return
        if behind:
            self._behind -= 1
            self._ready.append(behind.popleft())
        else:
            del self._lanes[lane]

    def drop(self, item: Callable[[T], bool], lane: Callable[[Hashable], bool]) -> list[T]:
        """Forget the waiting items and the lanes that the predicates hold for; returns the items."""
        dropped = [waiting for waiting in self._ready if item(waiting)]
        if dropped:
            kept = [waiting for waiting in self._ready if not item(waiting)]
            self._ready.clear()
            self._ready.extend(kept)
        for name in [name for name in self._lanes if lane(name)]:
            behind = self._lanes.pop(name)
            self._behind -= len(behind)
            dropped.extend(behind)
        return dropped
