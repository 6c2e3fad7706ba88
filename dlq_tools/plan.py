"""What a replay does with each letter: where it goes, what it carries, or why it stays. Pure."""

from collections.abc import Callable, Mapping
from enum import StrEnum
from typing import NamedTuple

from dlq_tools.ledger_records import Letter, Spec, State
from dlq_tools.ledger_state import LedgerState, Row
from dlq_tools.mend import renewed
from dlq_tools.replay_headers import Stamp, replay_headers, replay_id
from schemas.codec import decode_request
from schemas.dead_letter import DeadLetter, read_dead_letter
from schemas.errors import DecodeError
from workers.core.clock import Clock
from workers.core.records import Outgoing, Received
from workers.core.topology.model import Topology
from workers.core.topology.names import Names
from workers.kafka.sizes import record_size


class Stays(StrEnum):
    """Why a letter of the selection is not sent."""

    EXPIRED = "expired"  # `--renew` gives it new time
    TOO_LARGE = "too_large"  # for the topic where it would go
    NO_TARGET = "no_such_target"
    NO_PLACE = "no_destination"  # nothing says where it came from
    TOO_OFTEN = "replayed_too_often"  # parked
    LEFT = "left_by_transform"
    TAKEN = "taken_by_another_job"
    UNSURE = "maybe_sent"  # by a killed job, to a place that would take it twice


class Destination(NamedTuple):
    """Where a message goes; `target` where that is a target's own topic."""

    topic: str
    target: str | None


class Planned(NamedTuple):
    """A letter to be sent. `seen` is what the ledger said of it; `replays` counts this one too.

    `target` where it goes to a target's own topic.
    """

    letter: Letter
    record: Outgoing
    seen: Row | None
    replays: int
    target: str | None = None


class Kept(NamedTuple):
    """A letter that is not sent, and why, in a word and in a sentence. `seen` is what the ledger said of it."""

    letter: Letter
    why: Stays
    reason: str
    replays: int = 0
    seen: Row | None = None


Mend = Callable[[DeadLetter], DeadLetter | None]
"""From a letter to the one whose value is sent; None leaves it out. Raises `UsageError`."""


class Signature(NamedTuple):
    """Whose replay this is."""

    job: str
    who: str


class Planner:
    """Decides for one job. `limits` are the bytes that each topic takes; `digits` gives 48 random hex digits."""

    def __init__(
        self,
        signature: Signature,
        spec: Spec,
        topology: Topology,
        limits: Mapping[str, int],
        mend: Mend,
        clock: Clock,
        digits: Callable[[], str],
    ) -> None:
        self._signature = signature
        self._spec = spec
        self._topology = topology
        self._names = Names(topology)
        self._targets = {self._names.target(name): name for name in topology.targets}
        self._limits = limits
        self._mend = mend
        self._clock = clock
        self._digits = digits

    def plan(self, record: Received, ledger: LedgerState) -> Planned | Kept:
        """What to do with one letter. Raises `UsageError` when it can't be mended as it was asked."""
        dead, letter = read_dead_letter(*record), Letter(record.topic, record.partition, record.offset)
        row, copy = ledger.row(letter), ledger.mended(letter)
        replays = max(dead.replay_count, 0 if row is None else row.replays)
        if replays >= self._spec.max_replays:
            reason = f"it was replayed {replays} times; --max-replays allows {self._spec.max_replays}"
            return Kept(letter, Stays.TOO_OFTEN, reason, replays, row)
        place = self.destination(dead)
        if isinstance(place, Kept):
            return place
        if row is not None and row.twice and not self._recognises(place, dead):
            reason = f"{row.why or 'a killed job may have sent it'}, and {place.topic} would take it twice"
            return Kept(letter, Stays.UNSURE, reason, replays)
        mended = self._mend(dead if copy is None else dead.model_copy(update={"value": copy.bytes()}))
        if mended is None:
            return Kept(letter, Stays.LEFT, "the transform left it", replays)
        late = self._late(mended, place)
        if late is not None and self._spec.renew:
            mended = renewed(mended, self._clock.wall())
            late = self._late(mended, place)
        if late is not None:
            return Kept(letter, Stays.EXPIRED, late, replays)
        return self._sized(mended, place, row, replays + 1)

    def destination(self, dead: DeadLetter) -> Destination | Kept:
        """The topic that `--to` names, else the failing target's own, else where the message was read when it failed."""
        letter = Letter(dead.topic, dead.partition, dead.offset)
        name = self._spec.to or dead.target
        if name is not None and name in self._topology.targets:
            return Destination(self._names.target(name), name)
        if self._spec.to is not None:
            return Destination(self._spec.to, self._targets.get(self._spec.to))
        if dead.target is not None:
            reason = f"target {dead.target!r} is not in the topology any more; say where to with --to"
            return Kept(letter, Stays.NO_TARGET, reason)
        if dead.failed is not None:
            return Destination(dead.failed.topic, self._targets.get(dead.failed.topic))
        if dead.topic == self._names.dead_letters:
            return Destination(self._names.requests, None)
        return Kept(letter, Stays.NO_PLACE, "nothing in it says where it came from; say where to with --to")

    def in_fleet(self, topic: str) -> bool:
        """Whether messages that go to a topic come back as outcomes."""
        return topic in self._targets or topic == self._names.requests

    def _recognises(self, place: Destination, dead: DeadLetter) -> bool:
        """Whether a message that comes twice is told by its id."""
        return dead.message_id is not None and self.in_fleet(place.topic)

    def _sized(self, dead: DeadLetter, place: Destination, row: Row | None, count: int) -> Planned | Kept:
        letter = Letter(dead.topic, dead.partition, dead.offset)
        job, who = self._signature
        stamp = Stamp(replay_id(job, str(letter)), count, who, self._digits(), place.target, dead.deadline_ms)
        record = Outgoing(place.topic, dead.key, dead.value, replay_headers(dead, stamp))
        size, limit = record_size(record), self._limits.get(place.topic)
        if limit is None:
            return Kept(letter, Stays.NO_PLACE, f"topic {place.topic} does not exist; say where to with --to")
        if size > limit:
            reason = f"it has {size:,} bytes with its headers, {place.topic} takes {limit:,}"
            return Kept(letter, Stays.TOO_LARGE, reason, count - 1)
        return Planned(letter, record, row, count, place.target)

    def _late(self, dead: DeadLetter, place: Destination) -> str | None:
        """Why a worker would only say `expired`: the rule of `policies.expiry`, asked before anything is sent."""
        now = self._clock.wall()
        if dead.deadline_ms is not None and dead.deadline_ms <= now * 1000:
            return "its own deadline has passed"
        target = self._topology.targets.get(place.target or "")
        if target is None or target.expires_after is None:
            return None
        try:
            request = decode_request(dead.value, dead.headers, received_ms=dead.timestamp_ms).request
        except DecodeError:
            return None  # what can't be read has no age; the fleet will say what it is
        if request.timestamp + target.expires_after <= now:
            return f"it is older than the {target.expires_after:g} s that {place.target} gives a message"
        return None


def selectable(ledger: LedgerState, letter: Letter, spec: Spec, job: str) -> bool:
    """Whether a letter belongs to the selection: new, or with `--again` also replayed before by another job."""
    state = ledger.state(letter)
    if state is State.NEW:
        return True
    row = ledger.row(letter)
    if not spec.again or row is None or row.job == job:
        return False
    return state in {State.REPLAYED, State.ANSWERED, State.FAILED_AGAIN}
