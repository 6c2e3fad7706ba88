"""The books of one target's attempts: tokens and money, of answers and of failures, streamed or not."""

from decimal import Decimal

from schemas.events import EventFields, Step
from workers.core.clock import milliseconds
from workers.core.errors import MessageError
from workers.core.events import EventLog
from workers.core.metrics import COST, TOKENS, Metrics
from workers.core.ports import Answer, Usage
from workers.inference.message import Message
from workers.policies.cost import Tariff


class Attempts:
    """Adds up what attempts cost, and tells each on `fleet_logs`."""

    def __init__(self, target: str, tariff: Tariff | None, metrics: Metrics, events: EventLog) -> None:
        self._target = target
        self._tariff = tariff
        self._events = events
        self._prompt = metrics.counter(TOKENS, target, "prompt")
        self._completion = metrics.counter(TOKENS, target, "completion")
        self._cost = metrics.counter(COST, target, tariff.currency) if tariff is not None else None
        self._prompt_tokens = self._completion_tokens = 0
        self._money = Decimal(0)

    def enter(self, message: Message, seconds: float, result: Answer | MessageError) -> None:
        """Enter an attempt that `message.state` has counted already."""
        usage = result.usage
        cost = None if usage is None else self._pay(message, usage)
        fields: EventFields = {
            "target": self._target,
            "attempt": message.state.attempts + message.state.deferrals,
            "duration_ms": milliseconds(seconds),
        }
        if message.instance is not None:
            fields["instance"] = message.instance
        if usage is not None:
            tell_usage(fields, usage)
        if cost is not None:
            fields["cost"] = float(cost)
        if isinstance(result, MessageError):
            fields["error_class"] = result.error_class
        elif result.model is not None:
            fields["model"] = result.model
        self._events.emit(Step.ATTEMPTED, message.message_id, fields)

    def show(self) -> None:
        """Bring the metrics up to date: once a batch, since a counter is slow."""
        if self._prompt_tokens or self._completion_tokens:
            self._prompt.inc(self._prompt_tokens)
            self._completion.inc(self._completion_tokens)
            self._prompt_tokens = self._completion_tokens = 0
        if self._cost is not None and self._money:
            self._cost.inc(float(self._money))
            self._money = Decimal(0)

    def _pay(self, message: Message, usage: Usage) -> Decimal | None:
        self._prompt_tokens += usage.prompt_tokens
        self._completion_tokens += usage.completion_tokens
        if self._tariff is None:
            return None
        cost = self._tariff.cost(usage.prompt_tokens, usage.completion_tokens)
        message.spent = cost if message.spent is None else message.spent + cost
        self._money += cost
        return cost


def tell_usage(fields: EventFields, usage: Usage) -> None:
    """Enter the tokens of an answer."""
    fields["prompt_tokens"] = usage.prompt_tokens
    fields["completion_tokens"] = usage.completion_tokens
    fields["total_tokens"] = usage.total_tokens
