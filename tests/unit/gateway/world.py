"""A gateway's relay over the in-memory broker, and a fleet behind it that answers as it is told."""

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import Any

import orjson

from schemas import headers as h
from tests.support import eventually
from workers.core.clock import ManualClock
from workers.core.deadlines import Deadline
from workers.core.metrics import Metrics
from workers.core.ports import AnswerStore, TopicState
from workers.core.records import Outgoing, Position, Received, TopicPartition, echoed
from workers.core.topology.gateway import Gateway, Limits
from workers.core.topology.tenants import Tenant
from workers.gateway.pending import Pending, Registry
from workers.gateway.question import Question
from workers.gateway.relay import Relay, RelayDeps
from workers.gateway.replies import Replies, Topics
from workers.gateway.together import Together
from workers.gateway.watch import KafkaWatch
from workers.kafka.memory import MemoryBroker
from workers.stores.answers_memory import MemoryAnswerStore

REQUESTS, RESPONSES, CHUNKS = "model_requests", "model_responses", "model_chunks"
GROUP = "relayfleet.gateway"


class World:
    """One gateway. Several may share a broker and a store."""

    def __init__(
        self,
        *,
        settings: Gateway | None = None,
        tenants: Mapping[str, Tenant] | None = None,
        broker: MemoryBroker | None = None,
        store: AnswerStore | None = None,
    ) -> None:
        self.clock = ManualClock()
        self.broker = broker or MemoryBroker(clock=self.clock)
        if broker is None:
            for topic, partitions in ((REQUESTS, 2), (RESPONSES, 4), (CHUNKS, 3)):
                self.broker.create(TopicState(topic, partitions, 1, {}))
        self.store = store or MemoryAnswerStore(keep=3600, size=1_000_000, clock=self.clock)
        self.metrics = Metrics()
        self.registry = Registry()
        self.members = {
            topic: self.broker.subscription(f"{GROUP}.{topic}", [topic]) for topic in (RESPONSES, CHUNKS)
        }
        self.subscription = Together(self.members)
        self.admin = self.broker.admin()
        self.replies = Replies(
            Topics(RESPONSES, CHUNKS), self.subscription, self.admin, self.store, self.registry, self.metrics
        )
        self.settings = settings or Gateway(confirm=0.05)
        self.watch = KafkaWatch(self.admin, 1.0)
        self.relay = Relay(
            RelayDeps(
                self.settings,
                tenants or {},
                frozenset({"llm", "orders"}),
                REQUESTS,
                self.broker.publisher(),
                self.store,
                self.replies,
                self.registry,
                self.watch,
                self.metrics,
                self.clock,
            )
        )

    @property
    def owned(self) -> set[TopicPartition]:
        """The partitions that are this gateway's."""
        return {place for member in self.members.values() for place in member.owned}

    @property
    def committed(self) -> Mapping[TopicPartition, Position]:
        """Where the gateways' groups stand."""
        return {
            place: at
            for topic in self.members
            for place, at in self.broker.group(f"{GROUP}.{topic}").committed.items()
        }

    async def start(self) -> "World":
        """Join the group, and wait until answers would be read."""
        await self.replies.start()
        await eventually(self.replies.place)
        return self

    async def stop(self) -> None:
        """Leave."""
        await self.replies.close(Deadline.after(1))

    def requests(self) -> list[Received]:
        """What the broker has."""
        return self.broker.records(REQUESTS)

    def request(self, pending: Pending) -> Received:
        """The record that was sent for this."""
        return next(
            record for record in self.requests() if pending.message_id.encode() in (record.value or b"")
        )

    def reply(self, request: Received, text: str = "hello", **fields: Any) -> None:
        """Answer a request as a worker does."""
        message_id = orjson.loads(request.value or b"{}")["message_id"]
        headers = ((h.MESSAGE_ID, message_id.encode()), *h.carried(request.headers))
        value = orjson.dumps(response(message_id, text, **fields))
        place = h.reply_partition(request.headers)
        self.broker.append(Outgoing(RESPONSES, echoed(request.key), value, headers, place))

    def chunk(self, request: Received, index: int, text: str, **fields: Any) -> None:
        """Send a piece of the answer as a worker does."""
        message_id = orjson.loads(request.value or b"{}")["message_id"]
        headers = ((h.MESSAGE_ID, message_id.encode()), *h.carried(request.headers))
        value = {
            "message_id": message_id,
            "attempt": 1,
            "run": "r1",
            "index": index,
            "text": text,
            "timestamp": 1,
        }
        place = h.chunks_partition(request.headers)
        self.broker.append(Outgoing(CHUNKS, request.key, orjson.dumps({**value, **fields}), headers, place))


def response(message_id: str, text: str = "hello", **fields: Any) -> dict[str, Any]:
    """A response envelope."""
    return {
        "message_id": message_id,
        "source": "llm",
        "payload": {"text": text},
        "status": "ok",
        "route": {"target": "llm", "rule": "default", "attempts": 1},
        "timing": {"total": 5.0},
        "timestamp": 1_700_000_000.0,
        **fields,
    }


@asynccontextmanager
async def joined(world: World) -> AsyncIterator[None]:
    """While its gateway is in its group."""
    await world.start()
    try:
        yield
    finally:
        await world.stop()


def question(text: str = "hi", **fields: Any) -> Question:
    """A question of a client."""
    payload = {"text": text, "context": {}}
    envelope: dict[str, Any] = {"payload": payload}
    for name in ("message_id", "source", "timestamp"):
        if name in fields:
            envelope[name] = fields.pop(name)
    return Question(envelope, client="127.0.0.1", **fields)


def limits(**values: Any) -> Gateway:
    """Settings with these limits."""
    return Gateway(confirm=0.05, limits=Limits(**values))
