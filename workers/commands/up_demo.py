"""Sends the examples and follows each to its outcome."""

from collections.abc import Awaitable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Protocol

from workers.commands.up_examples import Example, Outcome, Tracker
from workers.commands.up_view import View
from workers.core.clock import Clock
from workers.core.deadlines import Deadline
from workers.core.records import Outgoing, Received

_AT_ONCE = 4  # examples under way: as many as the local model answers side by side
_AT_FIRST = 2  # until the model has answered once, so that the first answer does not wait for its neighbours
_LOOK_EVERY = 0.1  # seconds
PATIENCE = 120.0  # seconds without any outcome after which the rest counts as missing


class Delivers(Protocol):
    """What is asked of a `Publisher`."""

    def deliver(self, records: Sequence[Outgoing]) -> Awaitable[None]:
        """See `Publisher`."""


class Reads(Protocol):
    """What is asked of a `Reader`."""

    async def read(self, wait: float) -> Sequence[Received]:
        """See `Reader`."""


@dataclass(frozen=True, slots=True)
class Summary:
    """How the examples ended; `first` is when the first model's answer came, on the monotonic clock."""

    examples: Sequence[Example]
    seconds: float
    first: float | None

    def count(self, outcome: Outcome | None) -> int:
        """How many ended so; None: without an outcome."""
        return sum(example.outcome is outcome for example in self.examples)

    @property
    def complete(self) -> bool:
        """Whether every example has its outcome."""
        return self.count(None) == 0


class Demo:
    """One run over the examples."""

    def __init__(self, examples: Sequence[Example], tracker: Tracker, view: View, clock: Clock) -> None:
        self._examples = examples
        self._tracker = tracker
        self._view = view
        self._clock = clock
        self._first: float | None = None

    async def run(self, publisher: Delivers, reader: Reads, patience: float = PATIENCE) -> Summary:
        """Send a few at a time until all have their outcome, or none came for `patience` seconds."""
        began = self._clock.monotonic()
        unsent = iter(self._examples)
        self._view.begin(len(self._examples))
        try:
            await self._send(publisher, unsent)
            deadline = Deadline.after(patience, self._clock)
            while self._tracker.open and not deadline.expired:
                self._view.waiting(self._tracker.open)
                for example in self._tracker.take(await reader.read(_LOOK_EVERY), self._clock.monotonic()):
                    deadline = Deadline.after(patience, self._clock)
                    self._note(example)
                await self._send(publisher, unsent)
        finally:
            self._view.end()
        return Summary(self._examples, self._clock.monotonic() - began, self._first)

    async def _send(self, publisher: Delivers, unsent: Iterator[Example]) -> None:
        at_once = _AT_FIRST if self._first is None else _AT_ONCE
        batch = list(islice(unsent, max(0, at_once - len(self._tracker.open))))
        if batch:
            now = self._clock.monotonic()
            for example in batch:
                self._tracker.sent(example, now)
            await publisher.deliver([example.record for example in batch])

    def _note(self, example: Example) -> None:
        if self._first is None and example.outcome is Outcome.ANSWERED and example.model:
            self._first = self._clock.monotonic()
        self._view.finished(example)
