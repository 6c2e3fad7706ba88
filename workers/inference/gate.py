"""Whether a target takes messages at all: the safety valve at work, with its timer, its log and its figure."""

import asyncio
from collections.abc import Callable, Iterable

import structlog

from workers.core.clock import LOOP_SLACK, Clock
from workers.core.metrics import VALVE_STATE, Metrics
from workers.inference.message import Answered, Failed, Message, Outcome
from workers.policies.valve import Change, Flow, Valve, ValvePolicy

log = structlog.get_logger()


class Gate:
    """Lets messages in while what becomes of them is worth it. Messages that are in already are finished as always."""

    def __init__(self, target: str, policy: ValvePolicy, metrics: Metrics, clock: Clock) -> None:
        self._target = target
        self._valve = Valve(policy)
        self._clock = clock
        self._on_open: Callable[[], None] = lambda: None
        self._timer: asyncio.TimerHandle | None = None
        metrics.gauge(VALVE_STATE, target).set_function(lambda: self._valve.flow)

    @property
    def open(self) -> bool:
        """Whether a message may be taken."""
        return self._valve.flow is Flow.FLOWING or self._valve.admits(self._clock.monotonic())

    @property
    def stopped(self) -> bool:
        """Whether messages wait in Kafka, so that nothing moves though there is lag."""
        return self._valve.flow is not Flow.FLOWING

    def when_open(self, callback: Callable[[], None]) -> None:
        """Call this whenever messages may be taken again."""
        self._on_open = callback

    def take(self, message: Message) -> None:
        """The message is taken, which `open` has granted."""
        message.ticket, change = self._valve.take()
        self._tell(change)

    def leave(self, message: Message) -> None:
        """The message has no outcome here."""
        self._valve.abandon(message.ticket)
        if self.stopped and self.open:
            self._on_open()

    def delivered(self, outcomes: Iterable[tuple[Message, Outcome]]) -> None:
        """These outcomes are known to the world."""
        for message, outcome in outcomes:
            match outcome:
                case Answered():
                    self._settled(message, dead=False)
                case Failed(_, dead_letter=True):
                    self._settled(message, dead=True)
                case _:  # expired, refused or gone elsewhere: that says nothing about what the target makes of messages
                    self.leave(message)

    def resume(self) -> None:
        """An operator says that all is well."""
        self._tell(self._valve.resume())

    def close(self) -> None:
        """Wake nobody any more."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _settled(self, message: Message, *, dead: bool) -> None:
        self._tell(self._valve.settled(message.ticket, dead=dead, now=self._clock.monotonic()))

    def _tell(self, change: Change | None) -> None:
        if change is None:
            return
        write = log.error if change.after is Flow.STOPPED else log.warning
        write("valve_moved", target=self._target, state=change.after.name.lower(), reason=change.reason)
        self.close()
        if change.after is Flow.STOPPED:
            self._wake()
        elif change.after is Flow.FLOWING:
            self._on_open()

    def _wake(self) -> None:
        """Tell that probes may be taken, or look again when they may."""
        self._timer = None
        wait = self._valve.retry_at - self._clock.monotonic()
        if wait > 0:
            self._timer = asyncio.get_running_loop().call_later(max(LOOP_SLACK, wait), self._wake)
        else:
            self._on_open()
