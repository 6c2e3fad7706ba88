"""`fleet_logs`: one event a step, written beside the message and never in its way."""

import orjson

from schemas.events import Step
from workers.core.clock import Clock
from workers.core.ports import Publisher
from workers.core.records import Outgoing


class EventLog:
    """Writes log events of one process. Fields are those of `schemas.events.LogEvent`; None is left out."""

    def __init__(self, publisher: Publisher, topic: str, process: str, clock: Clock) -> None:
        self._publisher = publisher
        self._topic = topic
        self._process = process
        self._clock = clock

    def emit(
        self, step: Step, message_id: str | None, *, timestamp: float | None = None, **fields: object
    ) -> None:
        """Post one event, of now unless `timestamp` (epoch seconds) says when.

        Never blocks, never raises: an event that finds no room is counted and gone.
        """
        event: dict[str, object] = {
            "event": step.value,
            "message_id": message_id,
            "timestamp": self._clock.wall() if timestamp is None else timestamp,
            "process": self._process,
        }
        event.update([(name, value) for name, value in fields.items() if value is not None])
        key = message_id.encode() if message_id is not None else None
        self._publisher.post(Outgoing(self._topic, key, orjson.dumps(event)))
