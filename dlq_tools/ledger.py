"""Reading and writing the ledger topic.

All of it is in partition 0: who claimed a letter first is what the log's order says, and there is one order only
within a partition.
"""

import socket
from collections.abc import Iterable, Sequence
from uuid import uuid4

from dlq_tools.ledger_records import AUDIT, Audit, Value, write_value
from dlq_tools.ledger_state import LedgerState
from workers.core.clock import Clock
from workers.core.deadlines import Deadline
from workers.core.errors import UnreachableError
from workers.core.ports import Publisher, Reader
from workers.core.records import Outgoing, Received
from workers.core.settings import Settings

_PATIENCE = 30.0  # seconds until a record of our own must have come back
_LOOK = 0.005
_BATCH = 500

Writes = Sequence[tuple[str, Value | None]]
"""Keys and values; None forgets the key."""


class Ledger:
    """The ledger of one deployment. `reader` begins at the topic's beginning; `who` signs what is written."""

    def __init__(self, topic: str, publisher: Publisher, reader: Reader, clock: Clock, who: str) -> None:
        self.state = LedgerState()
        self.topic = topic
        self.who = who
        self._publisher = publisher
        self._reader = reader
        self._clock = clock

    @property
    def now_ms(self) -> int:
        """Epoch milliseconds."""
        return round(self._clock.wall() * 1000)

    async def load(self) -> None:
        """Read what is there."""
        while not self._reader.at_end:
            self._take(await self._reader.read(_LOOK))

    async def refresh(self) -> None:
        """Read what came since, as far as it is at hand: good enough for a look, not for a claim."""
        while records := await self._reader.read(_LOOK):
            self._take(records)

    async def write(self, writes: Writes) -> None:
        """Write these; done when all in-sync replicas have them. Raises `FatalError`."""
        for start in range(0, len(writes), _BATCH):
            await self._publisher.deliver(
                [self._record(key, value) for key, value in writes[start : start + _BATCH]]
            )

    async def write_and_read(self, key: str, value: Value) -> None:
        """Write a record and read on until it comes back: everything before it in the log is then in `state`.

        Raises `UnreachableError` when it does not come.
        """
        record = self._record(key, value)
        awaited = record.key, record.value
        await self._publisher.deliver([record])
        deadline = Deadline.after(_PATIENCE)
        while True:
            records = await self._reader.read(_LOOK)
            self._take(records)
            if any((each.key, each.value) == awaited for each in records):
                return
            if deadline.expired:
                raise UnreachableError(f"what was written to {self.topic} did not come back; is it readable?")

    async def audit(self, action: str, what: str, job: str | None = None, count: int | None = None) -> None:
        """Put a deed on record: who did what, and when."""
        await self.write([self.deed(action, what, job, count)])

    def deed(
        self, action: str, what: str, job: str | None = None, count: int | None = None
    ) -> tuple[str, Audit]:
        """What `audit` writes, to be written with other records."""
        event = Audit(at=self.now_ms, who=self.who, action=action, what=what, job=job, count=count)
        return f"{AUDIT}{event.at}-{uuid4().hex[:12]}", event

    def _record(self, key: str, value: Value | None) -> Outgoing:
        return Outgoing(self.topic, key.encode(), None if value is None else write_value(value), partition=0)

    def _take(self, records: Iterable[Received]) -> None:
        for record in records:
            self.state.take(record)


def operator(settings: Settings) -> str:
    """Who is at the keyboard, for the record: `$RELAYFLEET_USER`, else the login name, and the machine."""
    known = (settings.environment.get(name) for name in ("RELAYFLEET_USER", "USER", "LOGNAME"))
    return f"{next(filter(None, known), 'unknown')}@{socket.gethostname()}"
