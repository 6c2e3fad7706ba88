"""A whole worker of one target in memory: broker, backend and everything between."""

import asyncio
import random
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace

import orjson

from schemas.codec import decode_response, read_request
from schemas.response import Response
from tests.support import eventually
from workers.backends.memory import MemoryBackend
from workers.core.clock import Clock, SystemClock
from workers.core.deadlines import Deadline
from workers.core.errors import UnreachableError
from workers.core.events import EventLog
from workers.core.metrics import Metrics
from workers.core.ports import Backend, Claim, OutcomeStore
from workers.core.records import Headers, Outgoing, Position, Received, TopicPartition
from workers.core.topology.model import Topology
from workers.core.topology.names import Names
from workers.inference.admission import Admission
from workers.inference.cached import Cached
from workers.inference.conversation import Conversations
from workers.inference.intake import IntakePolicy
from workers.inference.once import OncePerId, OncePolicy
from workers.inference.pipeline import Surroundings, TargetPolicy
from workers.inference.pool import Pool, PoolRules, Seat
from workers.inference.recorded import key_of
from workers.inference.throttle import Limits
from workers.inference.worker import Ports, TargetSetup, TargetWorker
from workers.kafka.memory import MemoryBroker, MemorySubscription
from workers.policies.retry import RetryPolicy
from workers.policies.valve import ValvePolicy
from workers.stores.memory import MemoryOutcomeStore

TARGET = "llm"
TOPIC = "model_requests.llm"
GROUP = "relayfleet.worker.llm"
PLACE = TopicPartition(TOPIC, 0)
TOPOLOGY = Topology.model_validate(
    {
        "version": 1,
        "routes": [{"name": "default", "to": TARGET}],
        "targets": {
            name: {"type": "openai", "instances": [{"url": "http://127.0.0.1:1/v1"}]}
            for name in (TARGET, "small", "smallest")
        },
    }
)
AT_ONCE = RetryPolicy(initial=0.001, max_wait=0.001)
NEVER = 3600.0  # a time limit that ends nothing: what should end must end by itself


def envelope(message_id: str, **fields: object) -> bytes:
    """A request as a producer writes it."""
    return orjson.dumps(
        {
            "message_id": message_id,
            "source": "test",
            "payload": {"text": "hello"},
            "timestamp": 1.7e9,
            **fields,
        }
    )


def once_key(message_id: str) -> str:
    """The key of a message of `World.send` in the store of outcomes."""
    request, _, payload = read_request(envelope(message_id), (), None)
    return key_of(request.source, request.message_id, payload)


class StoreThatIsDown(MemoryOutcomeStore):
    """Answers nobody until it is `up`."""

    def __init__(self) -> None:
        super().__init__(window=2 * NEVER, lease=NEVER)
        self.up = False

    async def claim(self, key: str) -> Claim:
        """See `OutcomeStore`."""
        if not self.up:
            raise UnreachableError("the store is down")
        return await super().claim(key)


@dataclass
class World:
    """What a test sets before `running`, and looks at afterwards."""

    broker: MemoryBroker = field(default_factory=lambda: MemoryBroker(partitions=1))
    backends: Sequence[Backend] = field(default_factory=lambda: [MemoryBackend()])
    concurrency: int = 4
    target: TargetPolicy = TargetPolicy(TARGET, timeout=NEVER, expires_after=None, retry=AT_ONCE)  # noqa: RUF009 - frozen
    intake: IntakePolicy = IntakePolicy(delays={}, revoke_budget=NEVER)  # noqa: RUF009 - frozen
    clock: Clock = field(default_factory=SystemClock)
    sleep: Callable[[float], Awaitable[None]] = asyncio.sleep
    max_bytes: int = 1_000_000
    errors: list[BaseException] = field(default_factory=list)
    metrics: Metrics = field(default_factory=Metrics)
    rules: PoolRules | None = None
    valve: ValvePolicy = field(default_factory=ValvePolicy)
    outcomes: OutcomeStore = field(default_factory=lambda: MemoryOutcomeStore(window=2 * NEVER, lease=NEVER))
    once: OncePolicy = OncePolicy()  # noqa: RUF009 - frozen
    conversations: Conversations | None = None
    workers: list[TargetWorker] = field(default_factory=list)
    cache: Callable[[], Cached] | None = None
    admission: Callable[[], Admission] | None = None

    def __post_init__(self) -> None:
        """One time for all."""
        self.broker.clock = self.clock

    @property
    def backend(self) -> MemoryBackend:
        """The only instance."""
        (backend,) = self.backends
        assert isinstance(backend, MemoryBackend)
        return backend

    def retry(self, **changes: object) -> None:
        """Change the retry policy."""
        self.target = replace(self.target, retry=replace(self.target.retry, **changes))  # type: ignore[arg-type]  # a test's own names

    def limits(self, **changes: int) -> None:
        """Change what the intake holds."""
        self.intake = replace(self.intake, limits=Limits(**changes))

    def send(
        self, *message_ids: str, key: bytes | None = None, headers: Headers = (), partition: int = 0
    ) -> list[Received]:
        """Write requests to the target's topic."""
        return [
            self.broker.append(Outgoing(TOPIC, key, envelope(name), headers, partition=partition))
            for name in message_ids
        ]

    def build(self) -> tuple[TargetWorker, MemorySubscription]:
        """One more worker, not started."""
        clock = self.clock
        publisher = self.broker.publisher(max_message_bytes=self.max_bytes)
        names = Names(TOPOLOGY)
        subscription = self.broker.subscription(GROUP, [TOPIC, *self.intake.delays])
        seats = [Seat(backend, self.concurrency) for backend in self.backends]
        pool = Pool(TARGET, seats, self.metrics, self.rules)
        around = Surroundings(
            clock, EventLog(publisher, names.logs, "worker", clock), random.Random(1), sleep=self.sleep
        )
        once = OncePerId(TARGET, self.outcomes, self.once, self.metrics)
        cache = None if self.cache is None else self.cache()
        admission = None if self.admission is None else self.admission()
        ports = Ports(subscription, publisher, pool, once, self.metrics, self.conversations, cache, admission)
        setup = TargetSetup(self.target, self.intake, names, self.valve)
        self.workers.append(TargetWorker(setup, ports, around))
        return self.workers[-1], subscription

    @asynccontextmanager
    async def running(self) -> AsyncIterator[MemorySubscription]:
        """A worker at work; drained at the end unless it has failed."""
        worker, subscription = self.build()
        await worker.start(self.errors.append)
        try:
            yield subscription
        finally:
            if self.errors:
                await worker.abort()
            else:
                await worker.drain(Deadline.after(60))

    async def turns(self) -> None:
        """Let the last worker's clockwork go round twice: time enough for a commit that must not come."""
        for _ in range(2):
            await self._turn()

    async def _turn(self) -> None:
        worker = self.workers[-1]
        before = worker.progress()
        await eventually(lambda: worker.progress() is not before)

    @property
    def responses(self) -> list[Response]:
        """All responses, in the order of their partition."""
        return [
            decode_response(record.value, record.headers) for record in self.broker.records("model_responses")
        ]

    @property
    def answered(self) -> list[str]:
        """The ids of all responses."""
        return [response.message_id for response in self.responses]

    @property
    def dead_letters(self) -> list[Received]:
        """All dead letters."""
        return self.broker.records("dlq.model_requests")

    @property
    def committed(self) -> Position | None:
        """Where the group stands in the first partition."""
        return self.broker.group(GROUP).committed.get(PLACE)

    def committed_offset(self) -> int | None:
        """The committed offset of the first partition."""
        return None if self.committed is None else self.committed.offset
