"""A replay from beginning to end: the job is made or taken up, looked through, sent, followed, and put on record."""

import asyncio
import secrets
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from dlq_tools.claims import end_abandoned
from dlq_tools.estimate import Estimate
from dlq_tools.follow import Failures, Follower, StopPolicy, causes, is_open
from dlq_tools.lease import JobLease, is_running
from dlq_tools.ledger_records import JOB, Job, JobState, Spec, State, Value, by_place, by_topic
from dlq_tools.mend import mender
from dlq_tools.opening import topic_limits
from dlq_tools.plan import Planner, Signature, selectable
from dlq_tools.preview import Preview, preview
from dlq_tools.replay import Progress, Replay
from dlq_tools.resume import settle_claims
from dlq_tools.surroundings import Selection, Surroundings
from workers.core.errors import RelayError, UsageError
from workers.core.topology.model import Topology
from workers.core.topology.names import Names

Watch = Callable[[Progress, Preview], None]
"""Told how far a run is, and what was found of its selection."""

_SENT = (State.REPLAYED, State.ANSWERED, State.FAILED_AGAIN)


@dataclass(frozen=True, slots=True)
class Orders:
    """What one run of a job was told beside the spec. `wait` is how many seconds to wait for an outcome, None not at all."""

    send: bool | None  # None: only where it is a single letter; else it is looked through
    wait: float | None = None


@dataclass(frozen=True, slots=True)
class Report:
    """How a run ended."""

    job: Job
    state: JobState | None  # None: nothing was sent
    preview: Preview
    selected: int
    sent: int
    answered: int
    failed_again: int
    pending: int
    maybe_twice: int
    causes: dict[str, int]
    progress: Progress

    def as_json(self) -> dict[str, Any]:
        """For machines."""
        return {
            "job": self.job.name,
            "state": "previewed" if self.state is None else self.state.value,
            "selected": self.selected,
            "sent": self.sent,
            "answered": self.answered,
            "failed_again": self.failed_again,
            "pending": self.pending,
            "maybe_twice": self.maybe_twice,
            "kept": {
                why.value: count for why, count in (self.progress.kept or self.preview.kept).items() if count
            },
            "causes": self.causes,
        }


class ReplayRun:
    """Everything that `dlq replay` does."""

    def __init__(self, around: Surroundings, topology: Topology, selection: Selection) -> None:
        self._around = around
        self._ledger = around.ledger
        self._topology = topology
        self._names = Names(topology)
        self._selection = selection

    async def new_job(self, name: str | None, spec: Spec) -> Job:
        """A job that does not exist yet; it is on record once something is sent.

        Raises `UsageError` for a name that is taken, topics that are missing, and a `--to` that leads nowhere.
        """
        name = name or _name(self._around.clock.wall())
        if "/" in name or not name.isprintable():
            raise UsageError(f"a job can't be named {name!r}: leave out slashes")
        known = self._ledger.state.jobs.get(name)
        if known is not None:
            raise UsageError(
                f"job {name!r} exists and is {known.state.value}: --resume goes on with it, or take another name"
            )
        await self._check_destination(spec)
        now = self._ledger.now_ms
        return Job(
            name=name,
            state=JobState.RUNNING,
            who=self._ledger.who,
            at=now,
            spec=spec,
            bounds=by_topic(await self._around.ends(spec.topics)),
            follow=by_topic(await self._around.ends(self._outcome_topics())),
            changed_at=now,
        )

    def known_job(self, name: str | None, *, ended: bool = False) -> Job:
        """The job to resume: of this name, or the only one that is unfinished; `ended`: cancelled ones too.

        Raises `UsageError`.
        """
        jobs = self._ledger.state.jobs
        if name is not None and name not in jobs:
            raise UsageError(f"there is no job {name!r}; `relayfleet dlq jobs list` shows them")
        over = {JobState.DONE, JobState.SENT, JobState.CANCELLED}
        open_ = [job for job in jobs.values() if job.state not in over]
        if name is None and len(open_) != 1:
            raise UsageError(f"{len(open_)} jobs are unfinished; say which with --job")
        job = open_[0] if name is None else jobs[name]
        if job.state is JobState.CANCELLED and not ended:
            raise UsageError(f"job {job.name!r} was cancelled; begin a new one")
        return job

    async def run(
        self,
        job: Job,
        orders: Orders,
        stop: asyncio.Event,
        watch: Watch = lambda progress, preview: None,
    ) -> Report:
        """Look the selection through, and send it where that was ordered."""
        await end_abandoned(self._ledger)
        planner = await self._planner(job)
        earlier = self._earlier(job)
        if orders.send and not job.spec.changes:
            found = Preview(await self._count(job))  # every letter is looked at when it is its turn
        else:
            estimate = None if orders.send else Estimate(self._topology)
            bounds = by_place(job.bounds)
            found = await preview(job, self._selection, planner, self._ledger.state, bounds, estimate)
            found.require_destination()
        found.selected += earlier
        resuming = job.name in self._ledger.state.jobs
        send = found.selected <= 1 and not resuming if orders.send is None else orders.send
        if not send or not found.selected:
            return self._report(job, None, found, Progress())
        return await self._sent(job, orders, planner, found, stop, watch)

    async def _sent(
        self, job: Job, orders: Orders, planner: Planner, found: Preview, stop: asyncio.Event, watch: Watch
    ) -> Report:
        async with self._leased(job) as lease, self._follower(job) as follower:
            replay = Replay(self._around, job, planner, self._selection, follower, lease)
            replay.progress.changed = lambda: watch(replay.progress, found)
            state = await replay.run(by_place(job.bounds), stop)
            found.reasons.update(replay.found.reasons)
            if state is JobState.SENT and orders.wait is not None:
                await replay.wait(orders.wait, stop)
            else:
                await follower.catch_up()
            if state is JobState.SENT and not follower.pending:
                state = JobState.DONE
            report = await self._end(job, state, found, replay.progress)
        replay.found.require_destination()
        return report

    async def _count(self, job: Job) -> int:
        """How many letters are selected, by what is on record; of those some may stay when they are looked at."""
        state, most = self._ledger.state, job.spec.most
        count = await self._selection.count(
            job.spec, by_place(job.bounds), lambda letter: selectable(state, letter, job.spec, job.name)
        )
        sent = sum(row.state is not State.PARKED for _, row in state.rows(job.name))
        return count if most is None else max(0, min(count, most - sent))

    async def catch_up(self, job: Job) -> None:
        """Put on record what became of a job's letters since it was last looked at."""
        began = self._ledger.now_ms
        async with self._leased(job), self._follower(job) as follower:
            for letter, row in self._ledger.state.rows(job.name):
                if is_open(row, job.looked_at):
                    follower.expect(letter, row)
            await follower.catch_up()
            await self._ledger.refresh()
            known = self._ledger.state.jobs.get(job.name, job)
            await self._ledger.write_and_read(JOB + job.name, known.model_copy(update={"looked_at": began}))

    async def cancel(self, job: Job) -> Job:
        """End a job. One that nobody works on gives back what it had claimed and not sent."""
        cancelled = job.model_copy(update={"state": JobState.CANCELLED, "changed_at": self._ledger.now_ms})
        await self._ledger.write([self._ledger.deed("cancel", "the job was cancelled", job.name)])
        await self._ledger.write_and_read(JOB + job.name, cancelled)
        if not is_running(self._ledger, job.name):
            async with self._leased(job):
                await settle_claims(self._around, job.name)
            await self._ledger.write_and_read(JOB + job.name, cancelled)
        return cancelled

    async def _planner(self, job: Job) -> Planner:
        limits = await topic_limits(self._around.admin, self._topology)
        signature = Signature(job.name, self._ledger.who)
        mend, clock = mender(job.spec.changes), self._around.clock
        return Planner(
            signature, job.spec, self._topology, limits, mend, clock, lambda: secrets.token_hex(24)
        )

    @asynccontextmanager
    async def _leased(self, job: Job) -> AsyncIterator[JobLease]:
        lease = JobLease(self._ledger, job.name, self._around.clock)
        await lease.take()
        try:
            if job.name not in self._ledger.state.jobs:
                await self._ledger.write_and_read(JOB + job.name, job)
            yield lease
        finally:
            with suppress(
                RelayError
            ):  # an error that ended the run is the one to tell; the lease runs out by itself
                await lease.release()

    @asynccontextmanager
    async def _follower(self, job: Job) -> AsyncIterator[Follower]:
        async with self._around.open_reader(self._outcome_topics(), by_place(job.follow)) as reader:
            failures = Failures(StopPolicy(job.spec.max_failed))
            yield Follower(job.name, self._ledger, reader, self._names.responses, failures)

    async def _end(self, job: Job, state: JobState, found: Preview, progress: Progress) -> Report:
        """Put the end on record. Reading it back brings in every entry that was written before it."""
        ended = job.model_copy(update={"state": state, "changed_at": self._ledger.now_ms})
        deed = self._ledger.deed("replay", f"{state.value}; {_described(job.spec)}", job.name, progress.sent)
        writes: list[tuple[str, Value | None]] = [deed]
        await self._ledger.write(writes)
        await self._ledger.write_and_read(JOB + job.name, ended)
        return self._report(ended, state, found, progress)

    def _report(self, job: Job, state: JobState | None, found: Preview, progress: Progress) -> Report:
        rows = [row for _, row in self._ledger.state.rows(job.name)]
        counts = self._ledger.state.count(job.name)
        sent = sum(counts[each] for each in _SENT)
        return Report(
            job,
            state,
            found,
            selected=found.selected,
            sent=sent,
            answered=counts[State.ANSWERED],
            failed_again=counts[State.FAILED_AGAIN],
            pending=counts[State.REPLAYED],
            maybe_twice=sum(row.twice for row in rows),
            causes=dict(causes(rows)),
            progress=progress,
        )

    def _earlier(self, job: Job) -> int:
        """Letters that the job has selected before: on record by now, or claimed."""
        state = self._ledger.state
        claimed = sum(len(state.granted(key)) for key in state.claims_of(job.name))
        return claimed + sum(1 for _ in state.rows(job.name))

    async def _check_destination(self, spec: Spec) -> None:
        if spec.to is None or spec.to in self._topology.targets:
            return
        if spec.to in {*spec.topics, self._names.dead_letters, self._names.ledger, self._names.responses}:
            raise UsageError(f"--to {spec.to!r}: letters can't be replayed to that topic")
        if spec.to not in await self._around.admin.topics([spec.to]):
            targets = ", ".join(self._topology.targets)
            raise UsageError(f"--to {spec.to!r} is neither a target (there are {targets}) nor a topic")

    def _outcome_topics(self) -> list[str]:
        return [self._names.responses, self._names.dead_letters]


def _described(spec: Spec) -> str:
    """A spec in words, for the record."""
    chosen = spec.where or (", ".join(spec.positions[:3]) if spec.positions else "everything")
    return f"{chosen} of {', '.join(spec.topics)}" + (f" to {spec.to}" if spec.to else "")


def _name(wall: float) -> str:
    moment = datetime.fromtimestamp(wall, tz=UTC)
    return f"replay-{moment:%Y%m%d-%H%M%S}-{secrets.token_hex(2)}"
