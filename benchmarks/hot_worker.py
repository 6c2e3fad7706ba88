"""A whole worker of one target with nothing outside it: records in, answers from memory, deliveries at once."""

import asyncio
import time
from collections.abc import Callable
from typing import Any

import orjson

from benchmarks.hot_kafka import Publisher, Subscription
from benchmarks.load.backlog import routed
from workers import assembly
from workers.backends.factory import OpenedBackend
from workers.backends.http_begun import TellResponse
from workers.backends.http_client import HttpClient, HttpResponse
from workers.backends.openai import OpenAIBackend
from workers.core.clock import SystemClock
from workers.core.deadlines import Deadline
from workers.core.events import EventLog
from workers.core.interpreter import calm_collector
from workers.core.metrics import Metrics
from workers.core.records import Received, TopicPartition
from workers.core.topology.model import Instance, OpenAITarget, Topology
from workers.core.topology.names import Names
from workers.inference.build import Fleet, build_worker
from workers.inference.pipeline import Surroundings

BATCH = 500
TOPIC = "model_requests.llm"
ANSWER = orjson.dumps(
    {
        "id": "chatcmpl-1",
        "object": "chat.completion",
        "created": 1_700_000_000,
        "model": "stub",
        "choices": [
            {
                "index": 0,
                "message": {"role": "assistant", "content": "It has no opinion, but it has answered."},
                "finish_reason": "stop",
            }
        ],
        "usage": {"prompt_tokens": 12, "completion_tokens": 12, "total_tokens": 24},
    }
)
TOPOLOGY = Topology.model_validate(
    {
        "version": 1,
        "routes": [{"name": "default", "to": "llm"}],
        "targets": {
            "llm": {"type": "openai", "model": "stub", "instances": [{"url": "http://127.0.0.1:1/v1"}]}
        },
    }
)


class _Client(HttpClient):
    """Answers everything at the next turn of the loop."""

    async def request(
        self, method: str, path: str, headers: Any = (), body: bytes = b"", *, seconds: float
    ) -> HttpResponse:
        """See `HttpClient`."""
        self._head(method, path, headers, body)
        await asyncio.sleep(0)
        return HttpResponse(200, [], ANSWER)

    def begin(
        self,
        method: str,
        path: str,
        headers: Any = (),
        body: bytes = b"",
        *,
        seconds: float,
        told: TellResponse,
    ) -> Callable[[], None]:
        """See `HttpClient`."""
        self._head(method, path, headers, body)
        asyncio.get_running_loop().call_soon(told, HttpResponse(200, [], ANSWER))
        return lambda: None


def records(start: int, count: int) -> list[Received]:
    """Requests as the router leaves them."""
    now = SystemClock().wall()
    made = ((number, *routed(number, now)) for number in range(start, start + count))
    return [
        Received(TOPIC, 0, number, b"k%d" % number, value, headers, int(now * 1000))
        for number, value, headers in made
    ]


async def work(messages: int) -> float:
    """Answer messages in a whole worker; returns seconds of CPU. Whoever profiles starts it within `measured`."""
    clock, publisher, subscription = (
        SystemClock(),
        Publisher(),
        Subscription({TopicPartition(TOPIC, 0): None}),
    )
    events = EventLog(publisher, "fleet_logs", "worker", clock)
    around, names = Surroundings(clock, events), Names(TOPOLOGY)
    async with (
        assembly.open_outcomes(TOPOLOGY) as outcomes,
        assembly.open_sessions(TOPOLOGY) as sessions,
        assembly.open_shared(TOPOLOGY) as shared,
    ):
        fleet = Fleet(TOPOLOGY, publisher, outcomes, Metrics(), around, names, sessions, shared)
        return await _work(fleet, publisher, subscription, messages)


async def _work(fleet: Fleet, publisher: Publisher, subscription: Subscription, messages: int) -> float:
    worker = build_worker(fleet, "llm", subscription, [OpenedBackend(_backend())])
    failures: list[BaseException] = []
    await worker.start(failures.append)
    batches = [records(start, BATCH) for start in range(0, messages, BATCH)]
    calm_collector()
    began = time.process_time()
    for number, batch in enumerate(batches, 1):
        subscription.listener.records(batch)
        while publisher.delivered < number * BATCH and not failures:  # noqa: ASYNC110 - every turn counts, and an event would be one more
            await asyncio.sleep(0)
    spent = time.process_time() - began
    await worker.drain(Deadline.after(5))
    if failures:
        raise failures[0]
    return spent


def _backend() -> OpenAIBackend:
    target = TOPOLOGY.targets["llm"]
    assert isinstance(target, OpenAITarget)  # noqa: S101 - see above
    backend = OpenAIBackend(Instance(url="http://127.0.0.1:1/v1"), target, SystemClock())
    backend._client.__class__ = _Client  # noqa: SLF001 - the same client, with no socket behind it
    return backend
