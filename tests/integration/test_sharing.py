"""What workers share through Redis, on a real broker: answers, limits, budgets, turns; and where messages fall back to."""

import asyncio
from collections.abc import AsyncIterator, Callable, Iterable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path
from typing import Any

import orjson
import pytest
from confluent_kafka import Producer

from schemas import headers as h
from tests.fleet import Fleet, running_fleet
from tests.support import consume
from workers.core.clock import SystemClock
from workers.local.stub_model import Faults, StubModel, serving

Open = Callable[..., AbstractAsyncContextManager[Fleet]]


@pytest.fixture
def open_fleet(kafka: str, tmp_path: Path) -> Open:
    """Two worker processes with a Redis and no router: messages are produced to the target's own topic."""

    @asynccontextmanager
    async def opened(workers: int = 2, **deployment: Any) -> AsyncIterator[Fleet]:
        async with running_fleet(kafka, tmp_path, with_redis=True, **deployment) as fleet:
            fleet.names = {**fleet.names, "requests": f"{fleet.names['requests']}.llm"}
            for _ in range(workers):
                await fleet.add("worker")
            yield fleet

    return opened


def ask(fleet: Fleet, ids: Iterable[str], *, tenant: str | None = None, text: str | None = None) -> None:
    """Produce questions; without `text` each is another one."""
    producer = Producer({"bootstrap.servers": fleet.bootstrap, "linger.ms": 5})
    headers: list[tuple[str, str | bytes | None]] = []
    if tenant is not None:
        headers.append((h.TENANT, tenant.encode()))
    for name in ids:
        envelope = {
            "message_id": name,
            "source": "test",
            "payload": {"text": text or f"question {name}"},
            "timestamp": SystemClock().wall(),
        }
        producer.produce(fleet.names["requests"], orjson.dumps(envelope), name.encode(), headers=headers)
    assert producer.flush(30) == 0


async def responses(fleet: Fleet, count: int) -> list[dict[str, Any]]:
    """So many responses, in the order of their delivery."""
    records = await asyncio.to_thread(consume, fleet.bootstrap, fleet.names["responses"], count, 60.0)
    records.sort(key=lambda record: record.timestamp())
    return [orjson.loads(record.value() or b"") for record in records]


async def test_a_hundred_who_ask_the_same_of_two_workers_make_one_call(open_fleet: Open) -> None:
    price = {"input": 1, "output": 2}
    async with open_fleet(target={"cache": {"ttl": "5m"}, "price": price}) as fleet:
        fleet.misbehave(delay_ms=300)
        ask(fleet, (f"m{number}" for number in range(100)), text="where is my parcel?")
        answers = await responses(fleet, 100)
        calls = fleet.calls()["total"]
    assert calls == 1
    cached = [answer for answer in answers if answer["route"].get("cached") == "exact"]
    (asked,) = [answer for answer in answers if "cached" not in answer["route"]]
    assert len(cached) == 99
    assert len({answer["payload"]["text"] for answer in answers}) == 1
    assert asked["payload"]["cost"]["amount"] > 0
    saved = {(answer["payload"]["cost"]["amount"], answer["payload"]["cost"]["saved"]) for answer in cached}
    assert saved == {(0.0, asked["payload"]["cost"]["amount"])}


async def test_a_flood_of_one_tenant_holds_up_no_other(open_fleet: Open) -> None:
    """Judged by the order in which they are answered, which no busy machine changes."""
    more: dict[str, Any] = {"tenants": {"flood": {}, "other": {}}}
    async with open_fleet(workers=0, more=more, stub=("--delay-ms", "200")) as fleet:
        ask(fleet, (f"f{number}" for number in range(1200)), tenant="flood")
        ask(fleet, (f"o{number}" for number in range(60)), tenant="other")
        await fleet.add("worker")
        answers = await responses(fleet, 1260)
    order = [answer["message_id"][0] for answer in answers]
    before_the_last = order[: len(order) - order[::-1].index("o")].count("f")
    # While 60 are served 60 of the flood are, and what was under way when they were read.
    assert before_the_last < 500, "behind the flood it would have been nearly all 1200"


async def test_workers_share_a_budget_and_what_exceeds_it_is_refused(open_fleet: Open) -> None:
    more = {"tenants": {"acme": {"budget": {"per_day": 1, "exceeded": "refuse"}}, "other": {}}}
    target = {"price": {"input": 0, "output": 1}, "parameters": {"max_tokens": 100}}
    async with open_fleet(target=target, more=more) as fleet:
        ask(fleet, (f"a{number}" for number in range(150)), tenant="acme")
        ask(fleet, (f"o{number}" for number in range(20)), tenant="other")
        answers = await responses(fleet, 170)
        history = await fleet.history(1.0)
    paid = [answer["payload"]["cost"]["amount"] for answer in answers if answer["status"] == "ok"]
    theirs = [answer for answer in answers if answer["message_id"].startswith("a")]
    spent = sum(answer["payload"]["cost"]["amount"] for answer in theirs)
    refused = [answer["payload"]["error"] for answer in theirs if answer["status"] == "error"]
    assert paid[0] > 0
    assert 1 - 2 * 0.1 - 128 * 0.1 < spent <= 1
    assert {error["code"] for error in refused} == {"rate_limited"}
    assert all(0 < error["retry_after"] <= 86_400 for error in refused)
    assert sum(answer["status"] == "ok" for answer in answers if answer["message_id"][0] == "o") == 20
    assert history.dead_letters == {}


async def test_each_failure_goes_where_its_class_leads(open_fleet: Open) -> None:
    async with serving(StubModel(Faults())) as big, serving(StubModel(Faults())) as spare:
        targets = {
            name: {"type": "openai", "instances": [{"url": url}]}
            for name, url in (("big", big), ("spare", spare))
        }
        fallback = {"context_length": "big", "overloaded": "spare", "content_filter": []}
        target = {"context_length": 100, "fallback": fallback, "breaker": {"min_calls": 1000}}
        async with open_fleet(workers=1, target=target, targets=targets) as fleet:
            ask(fleet, ["short"], text="hello")
            ask(fleet, ["long"], text="hello " * 200)
            first = {answer["message_id"]: answer["source"] for answer in await responses(fleet, 2)}
            fleet.misbehave(error_rate=1, error_status=503)
            ask(fleet, ["busy"], text="hello")
            third = {answer["message_id"]: answer["source"] for answer in await responses(fleet, 3)}
            fleet.misbehave(finish_reason="content_filter")
            ask(fleet, ["filtered"], text="hello")
            last = await responses(fleet, 4)
    assert first == {"short": "llm", "long": "big"}
    assert third["busy"] == "spare"
    (filtered,) = [answer for answer in last if answer["message_id"] == "filtered"]
    assert filtered["payload"]["error"]["code"] == "content_filter"
    assert filtered["source"] == "llm"
