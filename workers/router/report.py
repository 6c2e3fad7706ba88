"""What logs and metrics say of a batch that is delivered. Without coroutines, so that it can be compiled."""

from collections.abc import Sequence

from schemas.errors import ErrorClass, Stage
from schemas.events import EventFields, Step
from workers.core import metrics as m
from workers.core.events import EventLog
from workers.core.figures import Count
from workers.core.metrics import Metrics
from workers.router.outcomes import Outcome

PROCESS = "router"


class Report:
    """Tells of outcomes."""

    def __init__(self, events: EventLog, metrics: Metrics) -> None:
        self._events = events
        self._metrics = metrics
        self._publish = metrics.histogram(m.STAGE_SECONDS, "", "publish")
        self._received: dict[str, Count] = {}  # by topic
        self._routed: dict[tuple[str, str], Count] = {}  # by target and rule

    def tell(self, outcomes: Sequence[Outcome], now_ms: float, seconds: float) -> None:
        """Tell of a batch that was routed at `now_ms` (epoch) and delivered after so many seconds."""
        # Of the routing: told later than it happened, it must not seem to follow the worker's steps.
        now = now_ms / 1000
        for outcome in outcomes:
            self._log(outcome, now_ms, now)
            self._count(outcome)
        self._publish.observe(seconds)

    def _log(self, outcome: Outcome, now_ms: float, now: float) -> None:
        sender, decision = outcome.sender, outcome.decision
        received: EventFields = {"queued_ms": max(0.0, now_ms - outcome.record.timestamp_ms)}
        routed: EventFields = {}
        if sender.source is not None:
            received["source"] = routed["source"] = sender.source
        self._events.emit(Step.RECEIVED, sender.message_id, received, now)
        if decision is not None:
            routed["target"] = decision.target
            routed["rule"] = decision.rule
        step = Step.ROUTED
        if outcome.error is not None:
            step = Step.DEAD_LETTERED if outcome.dead_lettered else Step.ANSWERED
            routed["error_class"] = outcome.error
            routed["position"] = outcome.record.position
        self._events.emit(step, sender.message_id, routed, now)

    def _count(self, outcome: Outcome) -> None:
        topic, decision = outcome.record.topic, outcome.decision
        received = self._received.get(topic)
        if received is None:
            received = self._received[topic] = self._metrics.count(m.RECEIVED, PROCESS, topic)
        received.add()
        if outcome.error is not None:
            self._count_failure(outcome, outcome.error)
        elif decision is not None:
            way = (decision.target, decision.rule)
            routed = self._routed.get(way)
            if routed is None:
                routed = self._routed[way] = self._metrics.count(m.ROUTED, *way)
            routed.add()

    def _count_failure(self, outcome: Outcome, error: ErrorClass) -> None:
        target = outcome.decision.target if outcome.decision is not None else ""
        self._metrics.count(m.ANSWERED, target, "error").add()
        if outcome.dead_lettered:
            stage = outcome.stage or Stage.ROUTE
            self._metrics.count(m.DEAD_LETTERED, PROCESS, error, stage).add()
