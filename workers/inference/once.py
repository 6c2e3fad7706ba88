"""Once per id: a message that comes again is answered from the record, and two copies at once make one call.

A lease is held on every id in work, renewed while the work lasts, and ends by itself when its worker is gone. An answer
is recorded before its response is published: killed in between, the next worker finds the record and calls nobody.
"""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import structlog
from prometheus_client import Counter

from workers.core.errors import UnreachableError
from workers.core.metrics import CALLS_SAVED, STORE_FAILURES, Metrics
from workers.core.ports import Answer, Busy, Claim, Claimed, OutcomeStore, Recorded, Recording
from workers.inference.recorded import answer_of, outcome_of

log = structlog.get_logger()

_RENEWALS_A_LEASE = 3
_LONGEST_LOOK = 1.0  # seconds between two looks at an id that somebody else works on
_STORE_RETRY = 1.0  # seconds between two tries while the store is down and the topology says to wait


@dataclass(frozen=True, slots=True)
class OncePolicy:
    """`lease` in seconds. With the store down: wait for it, or go on and maybe call twice."""

    lease: float = 10.0
    wait_for_store: bool = False


class Lease(NamedTuple):
    """This worker answers this id."""

    key: str
    token: int


class Later(NamedTuple):
    """Somebody else works on the id, or the store is awaited: ask again after `seconds`."""

    seconds: float


Start = Lease | Answer | Later | None
"""None: no store can be asked and the topology says to go on, or what is on record makes no sense."""


class OncePerId:
    """The leases of one worker process."""

    def __init__(
        self,
        target: str,
        store: OutcomeStore,
        policy: OncePolicy,
        metrics: Metrics,
        saved: Counter | None = None,
    ) -> None:
        """`saved` counts the calls that were not made."""
        self._store = store
        self._policy = policy
        self._held: dict[str, int] = {}
        self._endings: set[asyncio.Task[None]] = set()
        self._down = False
        self._saved = saved or metrics.counter(CALLS_SAVED, target)
        self._failures = metrics.counter(STORE_FAILURES, target)

    @property
    def waiting(self) -> bool:
        """Whether messages wait for a store that is down."""
        return self._down and self._policy.wait_for_store

    async def claim(self, key: str) -> Start:
        """Take the lease on a key, or learn what is on record for it."""
        (start,) = await self.claim_all([key])
        return start

    async def claim_all(self, keys: Sequence[str]) -> Sequence[Start]:
        """`claim` for each of these, in their order and in one round trip."""
        try:
            claims = await self._store.claim_all(keys)
        except UnreachableError as error:
            self._store_is_down(error)
            return [Later(_STORE_RETRY) if self._policy.wait_for_store else None] * len(keys)
        self._store_is_up()
        return [self._start(key, claim) for key, claim in zip(keys, claims, strict=True)]

    def _start(self, key: str, claim: Claim) -> Start:
        match claim:
            case Claimed(token):
                self._held[key] = token
                return Lease(key, token)
            case Recorded(outcome):
                return self._recorded(outcome)
            case Busy(retry_in):
                return Later(min(retry_in, _LONGEST_LOOK))

    def _recorded(self, outcome: bytes) -> Answer | None:
        try:
            answer = answer_of(outcome)
        except (ValueError, TypeError, KeyError, AttributeError) as error:
            # Of another version, or somebody else's: a second call costs less than a message that no worker survives.
            log.warning("recorded_outcome_unreadable", why=type(error).__name__)
            return None
        self._saved.inc()
        return answer

    async def answered(self, lease: Lease, answer: Answer) -> None:
        """Record the answer and end the lease. Returns also where the store is down: the answer goes out all the same."""
        await self.answered_all([(lease, answer)])

    async def answered_all(self, answers: Sequence[tuple[Lease, Answer]]) -> None:
        """`answered` for each of these, in one round trip."""
        recordings = self._recordings(answers)
        try:
            kept = await self._store.record_all(recordings)
        except UnreachableError as error:
            self._store_is_down(error)
        else:
            for recording, still_ours in zip(recordings, kept, strict=True):
                if not still_ours:
                    log.warning("lease_lost", token=recording.token)
        finally:
            for lease, _ in answers:
                self._drop(lease)

    def _recordings(self, answers: Sequence[tuple[Lease, Answer]]) -> list[Recording]:
        """One that can't be written goes out without a record: it must not cost the others theirs."""
        recordings: list[Recording] = []
        for lease, answer in answers:
            try:
                recordings.append(Recording(lease.key, lease.token, outcome_of(answer)))
            except TypeError:  # as JSON has it: too deep, or a number too large
                log.warning("answer_unrecordable", token=lease.token)
                self.abandon(lease)
        return recordings

    async def failed(self, lease: Lease) -> None:
        """End the lease without a record, so that a replay or a retry calls again."""
        try:
            await self._store.release(lease.key, lease.token)
        except UnreachableError as error:
            self._store_is_down(error)
        finally:
            self._drop(lease)

    def abandon(self, lease: Lease) -> None:
        """End the lease of a message that is left as it is; does not wait, since whoever cancels is in a hurry."""
        task = asyncio.get_running_loop().create_task(self.failed(lease))
        self._endings.add(task)
        task.add_done_callback(self._endings.discard)

    async def close(self) -> None:
        """Wait for leases that are being ended. The store stays open."""
        await asyncio.gather(*self._endings)

    async def renew(self, sleep: Callable[[float], Awaitable[None]] = asyncio.sleep) -> None:
        """Keep the leases that are held, for as long as this runs."""
        while True:
            await sleep(self._policy.lease / _RENEWALS_A_LEASE)
            held = dict(self._held)
            if not held:
                continue
            try:
                gone = await self._store.renew(held)
            except UnreachableError as error:
                self._store_is_down(error)
            else:
                self._store_is_up()
                for key in gone:
                    self._drop(Lease(key, held[key]))

    def _drop(self, lease: Lease) -> None:
        if self._held.get(lease.key) == lease.token:
            del self._held[lease.key]

    def _store_is_down(self, error: UnreachableError) -> None:
        self._failures.inc()
        if not self._down:
            self._down = True
            choice = (
                "messages wait for it"
                if self._policy.wait_for_store
                else "repeated messages may be called again"
            )
            log.error("outcome_store_down", error=str(error), so=choice)

    def _store_is_up(self) -> None:
        if self._down:
            self._down = False
            log.info("outcome_store_up")
