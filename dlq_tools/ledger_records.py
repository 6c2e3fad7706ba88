"""What the ledger topic holds: one JSON object a record, versioned, its kind told by the key.

| key | value |
| --- | --- |
| `topic:partition:offset` | `Entry`: what became of this dead letter |
| `claim/JOB/N` | `Claim`: letters that a job is about to send; a null value once it knows what became of them |
| `job/NAME` | `Job` |
| `lease/NAME` | `Lease`: which process works on the job; a null value when none does |
| `mended/topic:partition:offset` | `Mended`: what is replayed in place of the letter |
| `audit/ID` | `Audit`: who did what; never overwritten |

A topic's name can't hold a slash, so no kind's key is taken for another's.
"""

from base64 import b64decode
from enum import StrEnum
from typing import Literal, NamedTuple

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from workers.core.records import TopicPartition

CLAIM, JOB, LEASE, MENDED, AUDIT = "claim/", "job/", "lease/", "mended/", "audit/"


class State(StrEnum):
    """What became of a dead letter. One without an entry is new."""

    NEW = "new"
    PLANNED = "planned"  # claimed by a job, which knows not yet whether it was sent
    REPLAYED = "replayed"  # sent, its outcome not known
    ANSWERED = "answered"
    FAILED_AGAIN = "failed_again"
    PARKED = "parked"  # replayed too often, or nobody can tell whether it was
    DISCARDED = "discarded"


SETTLED = frozenset({State.ANSWERED, State.PARKED, State.DISCARDED})
"""Nothing more is to be done about these."""


class _Value(BaseModel):
    model_config = ConfigDict(frozen=True, extra="ignore", hide_input_in_errors=True)

    v: Literal[1] = 1


class Entry(_Value):
    """The state of one dead letter. `at` is epoch milliseconds; `replays` counts the sends, earlier ones included.

    `to` is where it was sent, `next` the position of the dead letter that it became again. `twice`: it may have been
    sent two times, and the target tells by the message id.
    """

    state: State
    at: int
    who: str
    job: str | None = None
    why: str | None = None
    replays: int = 0
    to: str | None = None
    next: str | None = None
    twice: bool = False


class Claim(_Value):
    """Letters by topic and partition, and where the topics that they go to ended before any of them was sent."""

    job: str
    token: str
    at: int
    letters: dict[str, dict[int, tuple[int, ...]]]
    marks: dict[str, dict[int, int]] = Field(default_factory=dict)


class Lease(_Value):
    """`token` names the process; `until` is epoch milliseconds; `takes` is the token of a holder known to be dead."""

    token: str
    host: str
    pid: int
    at: int
    until: int
    takes: str | None = None


class Spec(_Value):
    """What a replay was told, kept for its resumption. `topics` are those of the letters; `rate` a second."""

    topics: tuple[str, ...]
    where: str | None = None
    since_ms: int | None = None
    until_ms: int | None = None
    positions: tuple[str, ...] = ()
    to: str | None = None
    rate: float | None = None
    most: int | None = None
    renew: bool = False
    again: bool = False
    max_replays: int = 3
    max_failed: float = 0.5
    changes: tuple[str, ...] = ()


class JobState(StrEnum):
    """How far a job is."""

    RUNNING = "running"  # or killed: its lease tells
    PAUSED = "paused"  # ended by a signal, to be resumed
    STOPPED = "stopped"  # by itself: too much failed again
    SENT = "sent"  # everything is sent
    DONE = "done"  # and every outcome is known
    CANCELLED = "cancelled"


class Job(_Value):
    """A replay. `bounds` are the ends of the letters' topics when it began: what fails again later is not its own.

    `follow` is where to look for outcomes from, and `looked_at` when a look by itself began that read all of them. Times
    are epoch milliseconds.
    """

    name: str
    state: JobState
    who: str
    at: int
    spec: Spec
    bounds: dict[str, dict[int, int]]
    follow: dict[str, dict[int, int]]
    changed_at: int
    looked_at: int = 0
    why: str | None = None


class Mended(_Value):
    """A changed copy of a dead letter's value, base64. `how` says how it came about."""

    at: int
    who: str
    how: str
    value: str

    def bytes(self) -> bytes:
        """The value."""
        return b64decode(self.value)


class Audit(_Value):
    """One deed: `action` is replay, discard, purge, edit, cancel, look; `what` is a sentence, `count` letters."""

    at: int
    who: str
    action: str
    what: str
    job: str | None = None
    count: int | None = None


Value = Entry | Claim | Lease | Job | Mended | Audit
_KINDS: dict[str, type[Claim | Lease | Job | Mended | Audit]] = {
    CLAIM: Claim,
    JOB: Job,
    LEASE: Lease,
    MENDED: Mended,
    AUDIT: Audit,
}


class Letter(NamedTuple):
    """Where a dead letter is. As text it is the key of its entry."""

    topic: str
    partition: int
    offset: int

    def __str__(self) -> str:
        return f"{self.topic}:{self.partition}:{self.offset}"

    @property
    def place(self) -> TopicPartition:
        """Its partition."""
        return TopicPartition(self.topic, self.partition)

    @classmethod
    def parse(cls, text: str) -> "Letter | None":
        """Read `topic:partition:offset`; None where it isn't one."""
        topic, _, rest = text.partition(":")
        partition, _, offset = rest.partition(":")
        if not topic or not (partition.isdecimal() and offset.isdecimal()):
            return None
        return cls(topic, int(partition), int(offset))


def kind_of(key: str) -> str:
    """The prefix of a key, empty for an entry's."""
    head, slash, _ = key.partition("/")
    return head + slash if slash else ""


def read_value(key: str, value: bytes) -> Value | None:
    """The value under a key; None for one that is damaged, or written by a version that knows more than this one."""
    kind = kind_of(key)
    model: type[Value] | None = _KINDS.get(kind) if kind else Entry
    if model is None:
        return None
    try:
        return model.model_validate_json(value)
    except ValidationError:
        return None


def write_value(value: Value) -> bytes:
    """The JSON of a value; what is not set is left out."""
    return value.model_dump_json(exclude_none=True, exclude_defaults=False).encode()


def grouped(letters: "tuple[Letter, ...] | list[Letter]") -> dict[str, dict[int, tuple[int, ...]]]:
    """Letters in the form of a claim."""
    found: dict[str, dict[int, list[int]]] = {}
    for letter in letters:
        found.setdefault(letter.topic, {}).setdefault(letter.partition, []).append(letter.offset)
    return {
        topic: {number: tuple(offsets) for number, offsets in partitions.items()}
        for topic, partitions in found.items()
    }


def ungrouped(letters: dict[str, dict[int, tuple[int, ...]]]) -> list[Letter]:
    """The letters of a claim."""
    return [
        Letter(topic, number, offset)
        for topic, partitions in letters.items()
        for number, offsets in partitions.items()
        for offset in offsets
    ]


def by_topic(offsets: dict[TopicPartition, int]) -> dict[str, dict[int, int]]:
    """Offsets in the form that JSON takes."""
    found: dict[str, dict[int, int]] = {}
    for place, offset in offsets.items():
        found.setdefault(place.topic, {})[place.partition] = offset
    return found


def by_place(offsets: dict[str, dict[int, int]]) -> dict[TopicPartition, int]:
    """The reverse of `by_topic`."""
    return {
        TopicPartition(topic, number): offset
        for topic, partitions in offsets.items()
        for number, offset in partitions.items()
    }
