"""What happened to every message, read back from Kafka and from the backend: the judge of every chaos test."""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

import orjson
from confluent_kafka import Message

from tests.support import reading


@dataclass(frozen=True, slots=True)
class History:
    """All that was sent, answered, dead-lettered and paid for, by message id."""

    sent: Sequence[str]
    outcomes: Mapping[str, Sequence[str]]  # id -> the status of each response
    dead_letters: Counter[str]
    first_outcomes: Sequence[str] = ()  # ids in the order of their first response; exact within a partition
    paid_twice: Mapping[str, int] = field(default_factory=dict)

    @property
    def lost(self) -> list[str]:
        """Ids that were sent and never got an outcome."""
        return [message_id for message_id in self.sent if message_id not in self.outcomes]

    @property
    def duplicates(self) -> int:
        """Responses beyond the first of each id."""
        return sum(len(statuses) - 1 for statuses in self.outcomes.values())

    @property
    def strangers(self) -> list[str]:
        """Ids that got an outcome and were never sent."""
        return sorted(set(self.outcomes) - set(self.sent))

    @property
    def contradictions(self) -> list[str]:
        """Ids that were answered once and failed another time."""
        return [message_id for message_id, statuses in self.outcomes.items() if len(set(statuses)) > 1]

    @property
    def failed(self) -> list[str]:
        """Ids whose outcome is an error."""
        return [message_id for message_id, statuses in self.outcomes.items() if "ok" not in statuses]

    def row(self) -> dict[str, int]:
        """The figures of a report."""
        return {
            "sent": len(self.sent),
            "outcomes": len(self.outcomes),
            "lost": len(self.lost),
            "duplicates": self.duplicates,
            "failed": len(self.failed),
            "dead_letters": sum(self.dead_letters.values()),
            "paid_twice": len(self.paid_twice),
        }


class Watcher:
    """Reads the responses and dead letters of a deployment with a plain client, from the beginning, in no group."""

    def __init__(self, bootstrap: str, responses: str, dead_letters: str) -> None:
        self._responses = responses
        self._dead_letters = dead_letters
        self.outcomes: dict[str, list[str]] = {}
        self.dead_letter_ids: Counter[str] = Counter()
        self._consumer = reading(bootstrap, responses, dead_letters)

    def look(self, seconds: float = 0.0) -> None:
        """Take in what came."""
        for message in self._consumer.consume(5000, timeout=seconds):
            if message.error() is not None:
                continue
            if message.topic() == self._responses:
                response = orjson.loads(message.value() or b"{}")
                self.outcomes.setdefault(response["message_id"], []).append(response["status"])
            else:
                self.dead_letter_ids[_message_id(message)] += 1

    def has_all(self, ids: Iterable[str]) -> bool:
        """Whether each of these has an outcome by now."""
        self.look(0.05)
        return all(message_id in self.outcomes for message_id in ids)

    def has_all_letters(self) -> bool:
        """Whether each failure that was seen has its dead letter by now."""
        self.look(0.05)
        failed = (message_id for message_id, statuses in self.outcomes.items() if "ok" not in statuses)
        return all(message_id in self.dead_letter_ids for message_id in failed)

    def close(self) -> None:
        """Let go."""
        self._consumer.close()


def _message_id(message: Message) -> str:
    headers = message.headers() or []
    found = dict(headers if isinstance(headers, list) else headers.items()).get("relay.message-id")
    return found.decode() if isinstance(found, bytes) else "unknown"
