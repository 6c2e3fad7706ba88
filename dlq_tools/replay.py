"""Sending dead letters again.

Each batch is claimed in the ledger, sent, and then put on record; the claim names the letters and where their topics
ended. Killed at any point, the next run finds in the destination itself which letters of an open claim were sent. Two
jobs at once share nothing: the first claim on a letter wins, and both read the same log.
"""

import asyncio
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from dlq_tools.claims import Seen, claim, held
from dlq_tools.follow import LETTER_WITHIN, Follower, is_open
from dlq_tools.lease import JobLease
from dlq_tools.ledger_records import CLAIM, Entry, Job, JobState, Letter, State, Value
from dlq_tools.ledger_state import Row
from dlq_tools.plan import Kept, Planned, Planner, Stays
from dlq_tools.preview import Preview, look
from dlq_tools.resume import settle_claims
from dlq_tools.surroundings import Selection, Surroundings
from workers.core.records import Received, TopicPartition

_BATCH, _LARGE_BATCH = 500, 2000  # letters claimed at once; the latter where no outcomes come to stop us
_PACE = 0.2  # seconds of a rate that go out at once
_MOST_PENDING = 1000  # sent without an outcome, while outcomes come at all
_LOOK = 0.01


@dataclass
class Progress:
    """What a run did so far, for whoever watches it. `kept` counts letters that stay, by reason."""

    sent: int = 0
    kept: Counter[Stays] = field(default_factory=Counter)
    resumed: int = 0  # found to be sent by an earlier run
    unsure: int = 0
    changed: Callable[[], None] = lambda: None


class Replay:
    """One run of a job. After `patience` seconds without an outcome it no longer waits for some between batches."""

    def __init__(
        self,
        around: Surroundings,
        job: Job,
        planner: Planner,
        selection: Selection,
        follower: Follower | None,
        lease: JobLease,
        patience: float = 3.0,
    ) -> None:
        self.progress = Progress()
        self.found = Preview()  # what this run found in the selection
        self._around = around
        self._ledger = around.ledger
        self._job = job
        self._planner = planner
        self._selection = selection
        self._follower = follower
        self._lease = lease
        self._patience = patience
        self._claims = 0
        self._patient = True
        self._sent_before = 0

    async def run(self, bounds: Mapping[TopicPartition, int], stop: asyncio.Event) -> JobState:
        """Send what is not sent yet, until it is all sent, `stop` is set, the job is cancelled or too much fails.

        The lease must be held. Raises `FatalError` where a delivery failed: the job can be resumed all the same.
        """
        self.progress.resumed, self.progress.unsure = await settle_claims(self._around, self._job.name)
        await self._recall()
        started = self._around.clock.monotonic()
        async for records in self._selection.letters(self._job.spec, bounds):
            for batch in self._batches(records):
                ending = self._ending(stop)
                if ending is not None:
                    return ending
                await self._send(batch)
                await self._follow(stop)
                await self._pace(started, stop)
                if self._full():
                    return JobState.SENT
        return self._ending(asyncio.Event()) or JobState.SENT

    async def wait(self, patience: float, stop: asyncio.Event) -> None:
        """Wait for the outcomes of what was sent, until all are in, `stop` is set, or none comes for `patience` seconds.

        A dead letter may become readable after the response that tells of the failure; it is waited for, too.
        """
        follower, clock = self._follower, self._around.clock
        last = clock.monotonic()
        while follower is not None and (follower.pending or follower.unlinked) and not stop.is_set():
            if await follower.look(0.1):
                last = clock.monotonic()
                self.progress.changed()
            if clock.monotonic() - last > (patience if follower.pending else min(patience, LETTER_WITHIN)):
                return
            await self._lease.keep()

    async def _recall(self) -> None:
        """Take up what earlier runs of the job sent."""
        # What was just settled must be in the state before it is asked.
        await self._ledger.write_and_read(*self._ledger.deed("replay", "began to send", self._job.name))
        for letter, row in self._ledger.state.rows(self._job.name):
            self._sent_before += row.state is not State.PARKED
            if is_open(row):
                self._expect(letter, row)
        if self._follower is not None:
            await self._follower.catch_up()

    def _ending(self, stop: asyncio.Event) -> JobState | None:
        if stop.is_set():
            return JobState.PAUSED
        known = self._ledger.state.jobs.get(self._job.name)
        if known is not None and known.state is JobState.CANCELLED:
            return JobState.CANCELLED
        if self._follower is not None and self._follower.failures.too_many:
            return JobState.STOPPED
        return None

    def _batches(self, records: Sequence[Received]) -> Iterator[Sequence[Received]]:
        rate, start = self._job.spec.rate, 0
        while start < len(records):
            most = _BATCH if self._patient and self._follower is not None else _LARGE_BATCH
            size = most if rate is None else max(1, min(most, round(rate * _PACE)))
            yield records[start : start + size]
            start += size

    def _left(self) -> int | None:
        most = self._job.spec.most
        return None if most is None else max(0, most - self._sent_before - self.progress.sent)

    def _full(self) -> bool:
        return self._left() == 0

    async def _send(self, records: Sequence[Received]) -> None:
        """One batch: plan, claim, send, put on record."""
        planned, kept = self._plan(records)
        for stays in kept:
            self.progress.kept[stays.why] += 1
        parked = [stays for stays in kept if stays.why is Stays.TOO_OFTEN]
        if planned or parked:
            await self._settle(planned, parked)
        self.progress.changed()

    async def _settle(self, planned: Sequence[Planned], parked: Sequence[Kept]) -> None:
        """Claim, send, put on record. What somebody else claimed first is left to them."""
        seen: list[Seen] = [(each.letter, each.seen) for each in planned]
        seen += [(each.letter, each.seen) for each in parked]
        key = await self._claim([letter for letter, _ in seen], planned)
        ours = held(self._ledger.state, key, seen)
        sending = [each for each in planned if each.letter in ours]
        self.progress.kept[Stays.TAKEN] += len(planned) - len(sending)
        self._lease.check()
        await self._around.publisher.deliver([each.record for each in sending])
        writes: list[tuple[str, Value | None]] = [
            *((str(each.letter), self._replayed(each)) for each in sending),
            *((str(each.letter), self._parked(each)) for each in parked if each.letter in ours),
            (key, None),
        ]
        self.progress.sent += len(sending)
        await self._ledger.write(writes)

    def _plan(self, records: Sequence[Received]) -> tuple[list[Planned], list[Kept]]:
        left = self._left()
        planned: list[Planned] = []
        kept: list[Kept] = []
        for record in records:
            if len(planned) == left:
                break
            found = self._look(record)
            if isinstance(found, Kept):
                kept.append(found)
            elif found is not None:
                planned.append(found)
        return planned, kept

    def _look(self, record: Received) -> Planned | Kept | None:
        return look(record, self._job, self._planner, self._ledger.state, self.found)

    async def _claim(self, letters: Sequence[Letter], planned: Sequence[Planned]) -> str:
        await self._lease.keep()
        self._claims += 1
        key = f"{CLAIM}{self._job.name}/{self._lease.token}-{self._claims}"
        topics = sorted({each.record.topic for each in planned})
        marks = await self._around.ends(topics) if topics else {}
        await claim(self._ledger, key, self._job.name, letters, marks)
        return key

    def _replayed(self, planned: Planned) -> Entry:
        seen = planned.seen
        row = Row(
            State.REPLAYED,
            self._ledger.now_ms,
            self._ledger.who,
            self._job.name,
            None,
            planned.replays,
            planned.record.topic,
            None,
            twice=seen is not None and seen.twice,
        )
        self._expect(planned.letter, row)
        return Entry(**row._asdict())

    def _parked(self, kept: Kept) -> Entry:
        return Entry(
            state=State.PARKED,
            at=self._ledger.now_ms,
            who=self._ledger.who,
            job=self._job.name,
            why=kept.reason,
            replays=kept.replays,
        )

    def _expect(self, letter: Letter, row: Row) -> None:
        if self._follower is not None and row.to is not None and self._planner.in_fleet(row.to):
            self._follower.expect(letter, row)

    async def _follow(self, stop: asyncio.Event) -> None:
        """Read outcomes; let the fleet catch up where it is far behind, as long as it answers at all."""
        follower, clock = self._follower, self._around.clock
        if follower is None:
            return
        last = clock.monotonic()
        while True:
            if await follower.look(_LOOK):
                last, self._patient = clock.monotonic(), True
                self.progress.changed()
            if follower.pending <= _MOST_PENDING or stop.is_set() or follower.failures.too_many:
                return
            if not self._patient or clock.monotonic() - last > self._patience:
                self._patient = False
                return
            await self._lease.keep()

    async def _pace(self, started: float, stop: asyncio.Event) -> None:
        rate, clock = self._job.spec.rate, self._around.clock
        while rate is not None and not stop.is_set():
            ahead = started + self.progress.sent / rate - clock.monotonic()
            if ahead <= 0:
                return
            await self._around.sleep(min(ahead, _PACE))
