"""The ports: what the processes need from the world, and what they promise in return.

Modules on one level meet through these; `workers.assembly` puts real adapters behind them, tests put the fakes that
ship beside the adapters.
"""

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple, Protocol

from schemas.envelope import Request
from workers.core.deadlines import Deadline
from workers.core.records import Headers, Outgoing, Position, Received, TopicPartition


class Publisher(Protocol):
    """Writes records to Kafka."""

    def deliver(self, records: Sequence[Outgoing]) -> Awaitable[None]:
        """Write the records; done when all in-sync replicas have every one of them.

        The records are handed to the client before this returns, so calls keep their order.
        Raises `PermanentError(too_large)` for a record that no topic would take, `FatalError` when delivery failed for
        good: then it is unknown which records arrived, and the caller must acknowledge nothing.
        """

    def post(self, record: Outgoing) -> None:
        """Write a record without waiting and without blocking; a failure is only counted. For logs, shadows and state."""

    async def close(self, deadline: Deadline) -> int:
        """Flush until the deadline and let go. Returns how many records were still undelivered."""


class Listener(Protocol):
    """What a `Subscription` calls, always on the event loop that started it."""

    def records(self, batch: Sequence[Received]) -> None:
        """Records came in, in order within a partition. Must not block: keep them, pause if they are too many."""

    def assigned(self, partitions: Mapping[TopicPartition, Position | None]) -> None:
        """These partitions are ours from now on, with the group's committed position where there is one."""

    async def revoked(self, partitions: Sequence[TopicPartition]) -> Mapping[TopicPartition, Position]:
        """These partitions go to another member. Finish or drop their work, then return what to commit.

        The group waits for this, and gives up on us after a few seconds: bound it.
        """

    def lost(self, partitions: Sequence[TopicPartition]) -> None:
        """These partitions are already somebody else's. Nothing of them may be committed."""

    def failed(self, error: BaseException) -> None:
        """The subscription can't go on; the process must stop."""


class Subscription(Protocol):
    """Membership of a consumer group. Polling has a thread of its own and never waits for work."""

    async def start(self, listener: Listener) -> None:
        """Join the group; returns at once, `Listener.assigned` tells when partitions come."""

    def pause(self, partitions: Sequence[TopicPartition]) -> None:
        """Fetch no more from these until `resume`; records already fetched may still come."""

    def resume(self, partitions: Sequence[TopicPartition]) -> None:
        """Fetch from these again."""

    async def commit(self, positions: Mapping[TopicPartition, Position]) -> None:
        """Commit for the group. Positions of partitions no longer owned are dropped. Raises `UnreachableError`."""

    async def lag(self) -> Mapping[TopicPartition, int]:
        """Records between the last one delivered to the listener and the end, from what the client already knows."""

    async def close(self, deadline: Deadline) -> None:
        """Leave the group, calling no listener any more. Idempotent."""


@dataclass(frozen=True, slots=True)
class TopicState:
    """A topic as it is, or as it should be. `config` holds Kafka's own names and text values."""

    name: str
    partitions: int
    replication: int
    config: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class ClusterInfo:
    """What `doctor` and `status` print about a cluster."""

    cluster_id: str
    brokers: tuple[str, ...]  # host:port


class Admin(Protocol):
    """Looks at a cluster and changes its topics. All raise `UnreachableError`."""

    async def cluster(self) -> ClusterInfo:
        """Who answers."""

    async def topics(self, names: Sequence[str] | None = None) -> Mapping[str, TopicState]:
        """The topics that exist, of these names or all; config only where it differs from the broker's default."""

    async def create(self, topics: Sequence[TopicState]) -> None:
        """Create topics; one that exists already is an error."""

    async def grow(self, topic: str, partitions: int) -> None:
        """Raise a topic's number of partitions."""

    async def configure(self, topic: str, config: Mapping[str, str]) -> None:
        """Set these configuration values, leaving the others."""

    async def end_offsets(self, topics: Sequence[str]) -> Mapping[TopicPartition, tuple[int, int]]:
        """The first and the next offset of every partition."""

    async def topic_ids(self, topics: Sequence[str]) -> Mapping[str, str]:
        """The ids of the topics that exist: a topic that is created again under its old name has another."""

    async def offsets_at(
        self, topics: Sequence[str], timestamp_ms: int | None
    ) -> Mapping[TopicPartition, tuple[int, int] | None]:
        """Of every partition the first record at or after a time: its offset and its own time, both as Kafka keeps them.

        Without a time, the record with the latest. None where there is no such record.
        """

    async def delete_before(self, offsets: Mapping[TopicPartition, int]) -> None:
        """Delete the records below these offsets, for good. Raises `UsageError` for an offset past the end."""

    async def committed(self, group: str) -> Mapping[TopicPartition, Position]:
        """Where a group stands."""

    async def close(self) -> None:
        """Let go of the connections."""


class Reader(Protocol):
    """Reads topics without a consumer group: for people and for tests, who change nothing by looking."""

    async def start(self) -> None:
        """Find the positions to start from. What is produced after this returned will be seen."""

    async def read(self, wait: float) -> Sequence[Received]:
        """The records that come within `wait` seconds, maybe none. Raises `UnreachableError`."""

    @property
    def at_end(self) -> bool:
        """Whether everything that was there at `start` has been read."""

    async def close(self) -> None:
        """Let go of the connections."""


@dataclass(frozen=True, slots=True)
class Usage:
    """Tokens that an answer cost."""

    prompt_tokens: int
    completion_tokens: int
    total_tokens: int


@dataclass(frozen=True, slots=True)
class Answer:
    """What a backend answered. `choices` are a model's own, where they hold more than the text of one."""

    text: str
    model: str | None = None
    finish_reason: str | None = None
    usage: Usage | None = None
    choices: Sequence[Mapping[str, Any]] | None = None


class Piece(NamedTuple):
    """A piece of an answer that is still being written; `delta` is what came beside its text, as the model sent it."""

    text: str = ""
    delta: Mapping[str, Any] | None = None
    choice: int = 0
    finish_reason: str | None = None
    model: str | None = None


Sink = Callable[[Piece], None]
"""Takes the pieces of an answer in order. Neither blocks nor raises."""


@dataclass(frozen=True, slots=True)
class Call:
    """One attempt: the request, the seconds it may take, and the trace it belongs to.

    `sink`: where somebody waits for the answer piece by piece. A backend that can't give pieces leaves it alone.
    `headers` are the record's own.
    """

    request: Request
    timeout: float
    traceparent: str | None = None
    sink: Sink | None = None
    headers: Headers = ()


class Backend(Protocol):
    """One instance of a target."""

    @property
    def name(self) -> str:
        """How metrics, logs and `route.instance` call it: host and port, or file; never credentials."""

    async def call(self, call: Call) -> Answer:
        """Ask once. Raises `TransientError` or `PermanentError` with the class of the failure, nothing else.

        The answer is whole, also where its pieces went to `call.sink` before. Cancelling it abandons the attempt.
        """

    async def close(self) -> None:
        """Let go of connections."""


@dataclass(frozen=True, slots=True)
class Claimed:
    """The id is ours to answer; `token` proves it and grows with every claim, so an old holder is found out."""

    token: int


@dataclass(frozen=True, slots=True)
class Recorded:
    """The id was answered before; `outcome` is what was recorded."""

    outcome: bytes


@dataclass(frozen=True, slots=True)
class Busy:
    """Somebody else is at it; ask again in `retry_in` seconds."""

    retry_in: float


Claim = Claimed | Recorded | Busy


class OutcomeStore(Protocol):
    """Remembers which ids are being answered and what they were answered, for all workers together.

    Every method raises `UnreachableError` when the store does not answer.
    """

    async def claim(self, key: str) -> Claim:
        """Take the lease on `key` for the store's lease time, or learn who was there before."""

    async def renew(self, leases: Mapping[str, int]) -> frozenset[str]:
        """Extend leases (key -> token). Returns the keys that are no longer ours."""

    async def record(self, key: str, token: int, outcome: bytes) -> bool:
        """Keep the outcome for the store's window and end the lease. False: the lease is somebody else's by now."""

    async def release(self, key: str, token: int) -> None:
        """End the lease without an outcome, so that the next copy may try at once."""

    async def close(self) -> None:
        """Let go of the connections."""


@dataclass(frozen=True, slots=True)
class CacheBounds:
    """How long answers are kept, in seconds, and how many at most."""

    ttl: float
    entries: int
    max_bytes: int


class AnswerCache(OutcomeStore, Protocol):
    """Remembers the answers of one target by question, for all workers together; the oldest go when it is full.

    A lease is the right to ask a question while others wait for its answer. Raises as `OutcomeStore` does.
    """

    async def replace(self, key: str, outcome: bytes) -> None:
        """Keep this answer, whatever was kept and whoever holds the lease."""


@dataclass(frozen=True, slots=True)
class Kept:
    """What is known of a request that a gateway took.

    `fingerprint` tells its question from others, and is empty where nobody said; `answer` None: there is none yet.
    """

    fingerprint: bytes
    answer: bytes | None


class AnswerStore(Protocol):
    """Keeps the answers that gateways read, for all of them together, for a time and up to a size.

    Every method raises `UnreachableError` when the store does not answer.
    """

    async def begin(self, key: str, fingerprint: bytes) -> Kept | None:
        """Note that a request was taken. Returns what was known of the key before, which then stays; None: nothing."""

    async def put(self, answers: Mapping[str, bytes]) -> None:
        """Keep answers (key -> response). A second one to the same key replaces the first."""

    async def get(self, keys: Sequence[str]) -> Sequence[Kept | None]:
        """What is known of each of these, in their order."""

    async def close(self) -> None:
        """Let go of the connections."""


class KeptTurn(NamedTuple):
    """One turn of a conversation; `turn_id` is 32 hexadecimal digits that tell it from the others."""

    turn_id: str
    value: bytes


@dataclass(frozen=True, slots=True)
class SessionBounds:
    """How much of a conversation is kept: turns, bytes of their values together, and seconds after the last one."""

    turns: int
    max_bytes: int
    ttl: float


class SessionStore(Protocol):
    """Keeps the last turns of conversations, for all workers of a fleet together.

    Every method raises `UnreachableError` when the store does not answer.
    """

    async def turns(self, session: str) -> Sequence[KeptTurn]:
        """What is kept of a session, the oldest first."""

    async def append(self, session: str, turn: KeptTurn, bounds: SessionBounds) -> None:
        """Add a turn; one that is kept under the same id is replaced where it stands. What is beyond the bounds goes, the oldest first."""

    async def close(self) -> None:
        """Let go of the connections."""


class Draw(NamedTuple):
    """What a message takes from a bucket or a budget, and what that holds.

    A bucket holds `most` and fills by `rate` a second; a budget (rate 0) holds `most` until `ends_at`, epoch seconds,
    and has another key for the next period.
    """

    key: str
    amount: int
    most: int
    rate: float = 0.0
    ends_at: float = 0.0


class Drawn(NamedTuple):
    """Seconds until there is room, and the draw that has to wait longest; 0 and None: there is."""

    wait: float
    which: int | None


class LimitStore(Protocol):
    """Buckets and budgets of all processes together. Every method raises `UnreachableError`.

    What is more than a bucket or budget can hold at all counts as all that it holds: it waits until everything is there.
    """

    async def take(self, draws: Sequence[Draw]) -> Drawn:
        """Take all of these, or none where one of them has no room."""

    async def look(self, draws: Sequence[Draw]) -> Drawn:
        """What `take` would say, taking nothing."""

    async def add(self, draws: Sequence[Draw]) -> None:
        """Take these, room or not: for what turned out to be more than was estimated. Negative amounts give back."""

    async def close(self) -> None:
        """Let go of the connections."""
