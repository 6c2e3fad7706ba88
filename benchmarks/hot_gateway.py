"""A gateway's way of a question over HTTP with nothing outside it: bytes of a request in, bytes of its answer out.

The broker has what it is given at once, and the fleet's answer follows at the next turn of the loop.
"""

import asyncio
import time
from collections.abc import Sequence
from typing import Any

import orjson
from uvicorn.server import ServerState

from benchmarks.hot_kafka import Publisher, Subscription
from schemas import headers as h
from workers.core.clock import SystemClock
from workers.core.deadlines import Deadline
from workers.core.interpreter import calm_collector
from workers.core.metrics import Metrics
from workers.core.ports import Listener
from workers.core.records import Outgoing, Position, Received, TopicPartition
from workers.core.topology.gateway import Gateway
from workers.gateway.app import build_app
from workers.gateway.auth import Authenticator
from workers.gateway.front import Parts
from workers.gateway.hosts import Hosts
from workers.gateway.http_protocol import BoundedHttp
from workers.gateway.http_server import server_config
from workers.gateway.pending import Registry
from workers.gateway.relay import Relay, RelayDeps
from workers.gateway.replies import Replies, Topics
from workers.gateway.watch import KafkaWatch
from workers.kafka.memory import MemoryBroker
from workers.stores.answers_memory import MemoryAnswerStore

USERS = 100
TOPICS = Topics("model_responses", "model_chunks")
ASSIGNED = {
    TopicPartition(topic, at): Position(0) for topic in (TOPICS.responses, TOPICS.chunks) for at in range(4)
}
BODY = (
    '{"text": "推荐一款5000元以内的笔记本电脑", "context": {"user_history": ["之前咨询过显示器"]}}'.encode()
)
REQUEST = (
    b"POST /api/forward HTTP/1.1\r\nhost: 127.0.0.1:8080\r\nuser-agent: bench\r\naccept: */*\r\n"
    b"content-type: application/json\r\ncontent-length: %d\r\n\r\n%b" % (len(BODY), BODY)
)
OK = b"HTTP/1.1 200"
ANSWER = {
    "source": "llm",
    "payload": {"text": "It has no opinion, but it has answered.", "finish_reason": "stop"},
    "status": "ok",
    "route": {"target": "llm", "rule": "default", "instance": "a", "attempts": 1},
    "timing": {"queued": 1.5, "routed": 2.5, "model": 200.5, "total": 210.5},
    "timestamp": 1_700_000_000.0,
}


class _Transport(asyncio.Transport):
    """A connection of which somebody reads everything."""

    def __init__(self) -> None:
        super().__init__({"peername": ("127.0.0.1", 50_000), "sockname": ("127.0.0.1", 8080)})
        self.answered = 0

    def write(self, data: Any) -> None:
        """See `asyncio.WriteTransport`."""
        self.answered += data.startswith(OK)

    def is_closing(self) -> bool:
        """See `asyncio.BaseTransport`."""
        return False

    def resume_reading(self) -> None:
        """See `asyncio.ReadTransport`."""

    def close(self) -> None:
        """See `asyncio.BaseTransport`."""


class _Keeping(Publisher):
    """Keeps what it delivers."""

    def __init__(self) -> None:
        super().__init__()
        self.records: list[Outgoing] = []

    def deliver(self, records: Sequence[Outgoing]) -> "asyncio.Future[None]":
        """See `Publisher`."""
        self.records += records
        return super().deliver(records)


def _answer(request: Outgoing, offset: int) -> Received:
    """As a worker answers."""
    message_id = orjson.loads(request.value or b"")["message_id"]
    value = orjson.dumps({"message_id": message_id, **ANSWER})
    headers = ((h.MESSAGE_ID, message_id.encode()), *h.carried(request.headers))
    return Received(TOPICS.responses, 0, offset, request.key, value, headers, 0)


async def ask(messages: int) -> float:
    """Ask through as many connections as there are users, one question each at a time; returns seconds of CPU."""
    settings, publisher, subscription = Gateway(), _Keeping(), Subscription(ASSIGNED)
    deps = _deps(settings, publisher, subscription)
    authenticator = Authenticator(settings, {}, None)
    parts = Parts(Relay(deps), authenticator, settings, deps.metrics, deps.clock)
    app = build_app(parts, hosts=Hosts("127.0.0.1", (), authenticator))
    config, state = server_config(app, settings), ServerState()
    connections = []
    for _ in range(USERS):
        protocol = BoundedHttp(settings, app.answer, config=config, server_state=state, app_state={})
        protocol.connection_made(transport := _Transport())
        connections.append((protocol, transport))
    await deps.replies.start()
    try:
        return await _ask(connections, publisher, subscription.listener, messages)
    finally:
        for protocol, _ in connections:
            protocol.connection_lost(None)
        await deps.replies.close(Deadline.after(5))


def _deps(settings: Gateway, publisher: Publisher, subscription: Subscription) -> RelayDeps:
    metrics, clock, registry = Metrics(), SystemClock(), Registry()
    store = MemoryAnswerStore(keep=3600, size=10_000_000)
    admin = MemoryBroker(clock=clock).admin()
    return RelayDeps(
        settings,
        tenants={},
        targets=frozenset({"llm"}),
        requests="model_requests",
        publisher=publisher,
        store=store,
        replies=Replies(TOPICS, subscription, admin, store, registry, metrics),
        registry=registry,
        watch=KafkaWatch(admin, 1.0),
        metrics=metrics,
        clock=clock,
    )


async def _ask(
    connections: Sequence[tuple[BoundedHttp, _Transport]],
    publisher: _Keeping,
    listener: Listener,
    messages: int,
) -> float:
    calm_collector()
    spent = 0.0
    for turn in range(messages // USERS):
        began = time.process_time()
        for protocol, _ in connections:
            protocol.data_received(REQUEST)
        while len(publisher.records) < USERS:  # noqa: ASYNC110 - every turn counts, and an event would be one more
            await asyncio.sleep(0)
        spent += time.process_time() - began
        answers = [_answer(record, turn * USERS + at) for at, record in enumerate(publisher.records)]
        publisher.records.clear()
        began = time.process_time()
        listener.records(answers)
        while any(transport.answered <= turn for _, transport in connections):  # noqa: ASYNC110 - see above
            await asyncio.sleep(0)
        spent += time.process_time() - began
    return spent
