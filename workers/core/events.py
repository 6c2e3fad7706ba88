"""`fleet_logs`: one event a step, written beside the message and never in its way."""

from schemas.codec import jsontext
from schemas.events import EventFields, Step
from workers.core.clock import Clock
from workers.core.ports import Publisher
from workers.core.records import Outgoing


class EventLog:
    """Writes log events of one process. What is not known of a message is left out of its fields."""

    def __init__(self, publisher: Publisher, topic: str, process: str, clock: Clock) -> None:
        self._publisher = publisher
        self._topic = topic
        self._process = process
        self._clock = clock

    def emit(
        self, step: Step, message_id: str | None, fields: EventFields, timestamp: float | None = None
    ) -> None:
        """Post one event, of now unless `timestamp` (epoch seconds) says when.

        Never blocks, never raises: an event that finds no room is counted and gone.
        """
        event: dict[str, object] = {
            "event": step._value_,  # `value` takes ten times as long
            "message_id": message_id,
            "timestamp": self._clock.wall() if timestamp is None else timestamp,
            "process": self._process,
            **fields,
        }
        key = message_id.encode() if message_id is not None else None
        self._publisher.post(Outgoing(self._topic, key, jsontext.dumps(event)))
