"""The ports of what is kept for all processes together: outcomes, answers, conversations, limits."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple, Protocol


class Claimed(NamedTuple):
    """The id is ours to answer; `token` proves it and grows with every claim, so an old holder is found out."""

    token: int


class Recorded(NamedTuple):
    """The id was answered before; `outcome` is what was recorded."""

    outcome: bytes


class Busy(NamedTuple):
    """Somebody else is at it; ask again in `retry_in` seconds."""

    retry_in: float


Claim = Claimed | Recorded | Busy


class Recording(NamedTuple):
    """What is to be kept for a key whose lease one has."""

    key: str
    token: int
    outcome: bytes


class OutcomeStore(Protocol):
    """Remembers which ids are being answered and what they were answered, for all workers together.

    Every method raises `UnreachableError` when the store does not answer.
    """

    async def claim(self, key: str) -> Claim:
        """Take the lease on `key` for the store's lease time, or learn who was there before."""

    async def claim_all(self, keys: Sequence[str]) -> Sequence[Claim]:
        """`claim` for each of these, in their order and in one round trip."""

    async def renew(self, leases: Mapping[str, int]) -> frozenset[str]:
        """Extend leases (key -> token). Returns the keys that are no longer ours."""

    async def record(self, key: str, token: int, outcome: bytes) -> bool:
        """Keep the outcome for the store's window and end the lease.

        False: the lease is somebody else's by now, or an outcome is on record, which stays.
        """

    async def record_all(self, recordings: Sequence[Recording]) -> Sequence[bool]:
        """`record` for each of these, in their order and in one round trip."""

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
