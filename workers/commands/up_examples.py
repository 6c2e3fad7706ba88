"""The examples that `relayfleet up` sends, and what becomes of them."""

import json
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from enum import Enum
from pathlib import Path
from typing import Any

from schemas import headers as h
from schemas.codec import decode_event, decode_response
from schemas.errors import DecodeError
from schemas.events import Step
from workers.core.errors import UsageError
from workers.core.records import Outgoing, Received
from workers.core.topology.names import Names

_STAGES = {Step.RECEIVED: "being routed", Step.ROUTED: "at its target", Step.ATTEMPTED: "called"}


class Outcome(Enum):
    """What an example ended as."""

    ANSWERED = "answered"
    ERROR = "error"  # an error response
    DEAD_LETTER = "dead-letter"  # nobody could read it


@dataclass(slots=True)
class Example:
    """One line of the file and how far it has come. `ms`: milliseconds from end to end."""

    message_id: str
    source: str
    question: str
    record: Outgoing
    readable: bool = True
    stage: str = ""
    rule: str = ""
    target: str = ""
    outcome: Outcome | None = None
    ms: float | None = None
    text: str = ""
    model: str | None = None  # which one answered


def read_examples(file: Path, topic: str, run: str, now: float) -> list[Example]:
    """The examples of a file of JSON lines. Raises `UsageError` when it can't be read or is empty.

    `run` is added to every id, so that a second run asks the models again instead of getting the first run's outcomes;
    `now` (epoch seconds) becomes every timestamp.
    """
    try:
        lines = file.read_bytes().splitlines()
    except OSError as error:
        raise UsageError(
            f"can't read the examples in {file}: {error.strerror}; --no-demo starts without"
        ) from error
    examples = [
        _example(number, line, topic, run, now) for number, line in enumerate(lines, 1) if line.strip()
    ]
    if not examples:
        raise UsageError(f"there is no example in {file}; --no-demo starts without")
    return examples


def _example(number: int, line: bytes, topic: str, run: str, now: float) -> Example:
    try:
        fields = json.loads(line)
        payload = fields["payload"]
        message_id = fields["message_id"] = f"{fields['message_id']}.{run}"
        key = str(payload.get("session_id") or payload.get("user_id") or message_id)
        source, question = str(fields["source"]), _question(payload)
    except (ValueError, LookupError, TypeError, AttributeError):
        message_id = f"line{number}.{run}"
        question = line.decode(errors="replace")
        return Example(message_id, "?", question, Outgoing(topic, message_id.encode(), line), readable=False)
    fields["timestamp"] = now
    value = json.dumps(fields, ensure_ascii=False).encode()
    return Example(message_id, source, question, Outgoing(topic, key.encode(), value))


def _question(payload: dict[str, Any]) -> str:
    text = payload.get("text") or (payload.get("messages") or [{}])[-1].get("content")
    return " ".join(str(text or "").split())


class Tracker:
    """Follows the examples through the topics; what belongs to others is passed over."""

    def __init__(self, examples: Sequence[Example], names: Names) -> None:
        self._by_id = {example.message_id: example for example in examples}
        self._by_key = {example.record.key: example for example in examples}
        self._sent_at: dict[str, float] = {}
        self._take: dict[str, Callable[[Received, float], Example | None]] = {
            names.logs: self._event,
            names.responses: self._response,
            names.dead_letters: self._dead_letter,
        }

    @property
    def topics(self) -> list[str]:
        """What to read."""
        return list(self._take)

    @property
    def open(self) -> list[Example]:
        """The examples under way, in the order they were sent."""
        return [
            self._by_id[message_id] for message_id in self._sent_at if self._by_id[message_id].outcome is None
        ]

    def sent(self, example: Example, now: float) -> None:
        """It was handed to Kafka; `now` is the monotonic clock's."""
        example.stage = "sent"
        self._sent_at[example.message_id] = now

    def take(self, records: Iterable[Received], now: float) -> list[Example]:
        """Learn from records; returns the examples that got their outcome by them."""
        finished: list[Example] = []
        for record in records:
            try:
                example = self._take[record.topic](record, now)
            except DecodeError:
                continue  # somebody else's record
            if example is not None:
                finished.append(example)
        return finished

    def _event(self, record: Received, _now: float) -> None:
        event = decode_event(record.value, record.headers)
        example = self._by_id.get(event.message_id or "")
        if example is None or example.outcome is not None:
            return
        example.stage = _STAGES.get(event.event, example.stage)
        example.rule = event.rule or example.rule
        example.target = event.target or example.target

    def _response(self, record: Received, now: float) -> Example | None:
        response = decode_response(record.value, record.headers)
        example = self._by_id.get(response.message_id)
        if example is None or example.outcome is not None or not example.readable:
            return None  # what could not be read leaves a dead letter as well, and either may be seen first
        error = response.payload.error
        example.rule = response.route.rule or example.rule
        example.target = response.route.target or example.target
        example.model = response.payload.model
        example.text = f"{error.code}: {error.reason}" if error else (response.payload.text or "")
        return self._finish(example, Outcome.ERROR if error else Outcome.ANSWERED, now, response.timing.total)

    def _dead_letter(self, record: Received, now: float) -> Example | None:
        example = self._by_key.get(record.key)
        if example is None or example.outcome is not None or example.readable:
            return None  # what could be read gets a response as well
        error_class, reason = (h.get(record.headers, name) for name in (h.ERROR_CLASS, h.DLQ_MESSAGE))
        example.text = f"{error_class}: {reason}"
        return self._finish(example, Outcome.DEAD_LETTER, now, None)

    def _finish(self, example: Example, outcome: Outcome, now: float, ms: float | None) -> Example:
        example.outcome = outcome
        example.text = " ".join(example.text.split())
        example.ms = ms if ms is not None else 1000 * (now - self._sent_at.get(example.message_id, now))
        return example
