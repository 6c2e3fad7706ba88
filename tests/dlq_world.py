"""Dead letters on a Kafka in memory, and a replay over them."""

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import orjson

from dlq_tools.follow import Failures, Follower, StopPolicy
from dlq_tools.lease import JobLease
from dlq_tools.ledger import Ledger
from dlq_tools.ledger_records import JOB, Job, JobState, Letter, Spec, by_place, by_topic
from dlq_tools.mend import mender
from dlq_tools.plan import Planner, Signature
from dlq_tools.replay import Replay
from dlq_tools.surroundings import Surroundings
from schemas import headers as h
from schemas.codec import encode_response
from schemas.dead_letter import DeadLetter, Failure, dead_letter_headers, read_dead_letter
from schemas.errors import ErrorClass, Stage
from schemas.headers import Headers
from workers.core.clock import SystemClock
from workers.core.ports import Reader
from workers.core.records import Outgoing, Received, TopicPartition
from workers.core.topology.model import Topology
from workers.core.topology.names import Names
from workers.kafka.memory import MemoryBroker
from workers.kafka.memory_reader import MemoryReader
from workers.kafka.sizes import DEFAULT_MAX_BYTES

DLQ, LLM, RESPONSES = "dlq.model_requests", "model_requests.llm", "model_responses"


def topology(**llm: Any) -> Topology:
    """One target, `llm`."""
    target = {"type": "openai", "instances": [{"url": "http://127.0.0.1:1/v1"}], **llm}
    return Topology.model_validate(
        {"version": 1, "routes": [{"name": "default", "to": "llm"}], "targets": {"llm": target}}
    )


def failure(number: int, target: str | None = "llm", error: ErrorClass = ErrorClass.TIMEOUT) -> Failure:
    """Why message `number` failed."""
    return Failure(
        error,
        Stage.CALL if target else Stage.ROUTE,
        "no answer in time",
        1_700_000_000_000,
        "model_requests" if target is None else f"model_requests.{target}",
        0,
        number,
        "relayfleet.worker",
        message_id=f"m-{number}",
        source="web",
        target=target,
        attempt=5,
    )


def envelope(number: int, timestamp: float = 1_700_000_000.0, text: str = "你好") -> bytes:
    """The request that failed."""
    fields = {"message_id": f"m-{number}", "source": "web", "payload": {"text": text}, "timestamp": timestamp}
    return orjson.dumps(fields)


def dead_letter(
    number: int, target: str | None = "llm", value: bytes | None = None, **headers: str
) -> Outgoing:
    """A dead letter of ours. Underscores in the names of headers stand for dashes."""
    original: Headers = tuple(
        (name.replace("__", ".").replace("_", "-"), value.encode()) for name, value in headers.items()
    )
    headers_ = dead_letter_headers((("app", b"shop"), *original), failure(number, target))
    return Outgoing(DLQ, f"k{number}".encode(), envelope(number) if value is None else value, headers_)


class Everything:
    """A selection of all letters of the spec's topics, or those that `chosen` likes."""

    def __init__(self, broker: MemoryBroker, chosen: Callable[[DeadLetter], bool] = lambda _: True) -> None:
        self._broker = broker
        self._chosen = chosen

    async def count(
        self, spec: Spec, bounds: Mapping[TopicPartition, int], wanted: Callable[[Letter], bool]
    ) -> int:
        return sum(
            [wanted(Letter(*each[:3])) async for batch in self.letters(spec, bounds) for each in batch]
        )

    async def letters(
        self, spec: Spec, bounds: Mapping[TopicPartition, int]
    ) -> AsyncIterator[Sequence[Received]]:
        for topic in spec.topics:
            found = [
                record
                for record in self._broker.records(topic)
                if record.offset < bounds[TopicPartition(record.topic, record.partition)]
                and self._chosen(read_dead_letter(*record))
            ]
            for start in range(0, len(found), 700):
                yield found[start : start + 700]


@dataclass
class DlqWorld:
    """A deployment in memory."""

    topology: Topology = field(default_factory=topology)
    broker: MemoryBroker = field(default_factory=MemoryBroker)
    limits: dict[str, int] = field(default_factory=dict)

    def __post_init__(self) -> None:
        names = Names(self.topology)
        for topic in (names.requests, DLQ, LLM, RESPONSES, names.ledger):
            self.broker.state(topic)
            self.limits.setdefault(topic, DEFAULT_MAX_BYTES)

    def add(self, *letters: Outgoing) -> list[Received]:
        """Put letters on the dead-letter topic."""
        return [self.broker.append(letter) for letter in letters]

    async def around(self, who: str = "ana@shop") -> Surroundings:
        """What a command has when it starts, its ledger read."""
        publisher, clock = self.broker.publisher(), SystemClock()
        reader = MemoryReader(self.broker, [Names(self.topology).ledger], {})
        await reader.start()
        ledger = Ledger(Names(self.topology).ledger, publisher, reader, clock, who)
        await ledger.load()
        return Surroundings(ledger, publisher, self.broker.admin(), self._reader, clock)

    async def begin(self, around: Surroundings, name: str = "job", **spec: Any) -> Job:
        """A new job over all there is now, or the one that is there."""
        known = around.ledger.state.jobs.get(name)
        if known is not None:
            return known
        job = Job(
            name=name,
            state=JobState.RUNNING,
            who=around.ledger.who,
            at=around.ledger.now_ms,
            spec=Spec(topics=(DLQ,), **spec),
            bounds=by_topic(await around.ends([DLQ])),
            follow=by_topic(await around.ends([RESPONSES, DLQ])),
            changed_at=around.ledger.now_ms,
        )
        await around.ledger.write_and_read(JOB + name, job)
        return job

    async def run(
        self,
        around: Surroundings,
        job: Job,
        stop: asyncio.Event | None = None,
        *,
        chosen: Callable[[DeadLetter], bool] = lambda _: True,
        wait: float = 0.0,
        died: bool = True,
    ) -> tuple[Replay, JobState]:
        """Run a job to its end, as one process does; `died`: a holder of its lease is taken for dead."""
        lease = JobLease(around.ledger, job.name, around.clock, lambda _: died)
        await lease.take()
        async with self._reader([RESPONSES, DLQ], by_place(job.follow)) as reader:
            failures = Failures(StopPolicy(job.spec.max_failed))
            follower = Follower(job.name, around.ledger, reader, RESPONSES, failures)
            replay = Replay(
                around, job, self.planner(around, job), Everything(self.broker, chosen), follower, lease, 0.05
            )
            state = await replay.run(by_place(job.bounds), stop or asyncio.Event())
            if wait:
                await replay.wait(wait, asyncio.Event())
        await lease.release()
        await around.ledger.refresh()
        return replay, state

    def planner(self, around: Surroundings, job: Job) -> Planner:
        """The planner of a job."""
        signature = Signature(job.name, around.ledger.who)
        mend = mender(job.spec.changes)
        return Planner(signature, job.spec, self.topology, self.limits, mend, around.clock, lambda: "ab" * 24)

    def sent(self, topic: str = LLM) -> list[str]:
        """The ids of what was sent to a topic."""
        return [h.get(record.headers, h.MESSAGE_ID) or "" for record in self.broker.records(topic)]

    def answer(self, record: Received, error: ErrorClass | None = None) -> None:
        """Let the fleet answer a replayed message, or fail on it again."""
        self.respond(record, error)
        if error is not None:
            self.bury(record, error)

    def bury(self, record: Received, error: ErrorClass) -> None:
        """Let a replayed message become a dead letter again."""
        again = dead_letter_headers(record.headers, failure(record.offset, error=error))
        self.broker.append(Outgoing(DLQ, record.key, record.value, again))

    def respond(self, record: Received, error: ErrorClass | None = None) -> None:
        """Let the fleet respond to a replayed message."""
        message_id = h.get(record.headers, h.MESSAGE_ID) or ""
        passed = tuple(header for header in record.headers if header[0] == h.REPLAY_ID)
        payload: Any = {"text": "ok"}
        if error is not None:
            payload = {"error": {"code": error, "reason": "no answer in time", "retryable": True}}
        encoded = encode_response(
            {
                "message_id": message_id,
                "source": "llm",
                "payload": payload,
                "status": "ok" if error is None else "error",
                "route": {"target": "llm"},
                "timing": {},
                "timestamp": 1.0,
            }
        )
        self.broker.append(Outgoing(RESPONSES, record.key, encoded.value, passed))

    def letters(self) -> list[Letter]:
        """All dead letters."""
        return [Letter(each.topic, each.partition, each.offset) for each in self.broker.records(DLQ)]

    @asynccontextmanager
    async def _reader(
        self, topics: Sequence[str], start_at: Mapping[TopicPartition, int]
    ) -> AsyncIterator[Reader]:
        reader = MemoryReader(self.broker, topics, start_at)
        await reader.start()
        yield reader
