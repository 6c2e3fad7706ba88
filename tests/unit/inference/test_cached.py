"""Answers that serve again: exact ones and like ones, one call for many, and nobody else's."""

from dataclasses import replace
from decimal import Decimal
from functools import partial

import pytest

from schemas import headers as h
from schemas.errors import ErrorClass
from tests.support import eventually
from tests.unit.inference.world import PLACE, TARGET, TOPIC, World, envelope
from workers.backends.memory import MemoryBackend
from workers.core.clock import SystemClock
from workers.core.errors import PermanentError
from workers.core.ports import Answer, AnswerCache, CacheBounds, Usage
from workers.core.records import Headers, Outgoing
from workers.inference.cached import Cached, CachePolicy
from workers.kafka.memory import MemoryBroker
from workers.policies.cost import Tariff
from workers.policies.intents import ngrams
from workers.policies.similar import SimilarPolicy, SimilarQuestions
from workers.stores.cache_memory import MemoryAnswerCache
from workers.stores.cache_redis import RedisAnswerCache


def store() -> AnswerCache:
    return MemoryAnswerCache(CacheBounds(3600.0, 1000, 1_000_000), lease=3600.0)


def cached(
    world: World,
    shared_store: AnswerCache | None = None,
    *,
    similar: SimilarQuestions[Answer] | None = None,
    shared: bool = False,
) -> World:
    policy = CachePolicy(3600.0, shared=shared)
    world.cache = lambda: Cached(
        TARGET, shared_store or store(), policy, world.metrics, SystemClock(), similar
    )
    return world


def ask(world: World, message_id: str, text: str = "where is it?", headers: Headers = ()) -> None:
    value = envelope(message_id, payload={"text": text})
    world.broker.append(Outgoing(TOPIC, None, value, headers, partition=0))


def marks(world: World) -> dict[str, str | None]:
    return {response.message_id: response.route.cached for response in world.responses}


def _answered(world: World, count: int) -> bool:
    return len(world.answered) == count


def results(world: World, result: str) -> float | None:
    labels = {"target": TARGET, "result": result}
    return world.metrics.registry.get_sample_value("relayfleet_cache_total", labels)


async def test_the_same_question_is_answered_from_the_cache_and_says_so(world: World) -> None:
    cached(world).backend.then(Answer("first", usage=Usage(100, 5, 105)))
    world.target = replace(world.target, tariff=Tariff(Decimal("0.001"), Decimal("0.01"), "EUR"))
    async with world.running():
        ask(world, "a")
        await eventually(lambda: world.answered == ["a"])
        ask(world, "b", " Where is  it?")
        ask(world, "c", "where is  it? ")
        await eventually(lambda: len(world.answered) == 3)
    assert marks(world) == {"a": None, "b": None, "c": "exact"}
    assert len(world.backend.calls) == 2, "case means something"
    (hit,) = [response for response in world.responses if response.message_id == "c"]
    assert (hit.payload.text, hit.route.instance, hit.timing.model) == ("first", None, 0.0)
    assert hit.payload.cost is not None
    assert hit.payload.cost.model_dump() == {"amount": 0.0, "currency": "EUR", "saved": pytest.approx(0.15)}
    assert (results(world, "exact"), results(world, "missed")) == (1, 2)


async def test_a_hundred_who_ask_the_same_at_once_make_one_call(world: World) -> None:
    cached(world).backend.hold()
    async with world.running():
        for number in range(100):
            ask(world, f"m{number}")
        await eventually(lambda: len(world.backend.calls) == 1)
        ask(world, "other", "another question")
        await eventually(lambda: len(world.backend.calls) == 2)
        world.backend.release()
        await eventually(lambda: len(world.answered) == 101)
    assert len(world.backend.calls) == 2
    assert list(marks(world).values()).count("exact") == 99


async def test_workers_share_one_call_through_the_store() -> None:
    both, backend = store(), MemoryBackend()
    backend.hold()
    worlds = [cached(World(backends=[backend]), both) for _ in range(2)]
    async with worlds[0].running(), worlds[1].running():
        for number in range(20):
            ask(worlds[number % 2], f"m{number}")
        await eventually(lambda: len(backend.calls) == 1)
        backend.release()
        await eventually(lambda: all(len(world.answered) == 10 for world in worlds))
    assert len(backend.calls) == 1


async def test_an_error_is_never_kept_and_everybody_asks_for_themselves(world: World) -> None:
    cached(world).backend.default = PermanentError(ErrorClass.CONTENT_FILTER, "filtered")
    async with world.running():
        for number in range(5):
            ask(world, f"m{number}")
        await eventually(lambda: len(world.answered) == 5)
        world.backend.default = Answer("now")
        ask(world, "later")
        await eventually(lambda: len(world.answered) == 6)
    assert marks(world)["later"] is None
    assert {response.status for response in world.responses} == {"ok", "error"}


@pytest.mark.parametrize(("shared", "mark"), [(False, None), (True, "exact")])
async def test_tenants_see_each_others_answers_only_where_the_topology_says_so(
    world: World, shared: bool, mark: str | None
) -> None:
    cached(world, shared=shared)
    async with world.running():
        ask(world, "a", headers=((h.TENANT, b"acme"),))
        await eventually(lambda: world.answered == ["a"])
        ask(world, "b", headers=((h.TENANT, b"other"),))
        await eventually(lambda: len(world.answered) == 2)
    assert marks(world) == {"a": None, "b": mark}


async def test_no_cache_asks_afresh_for_everybody_after_and_no_store_for_nobody(world: World) -> None:
    cached(world).backend.then(Answer("old"), Answer("fresh"), Answer("secret"))
    async with world.running():
        for count, control in enumerate((b"", b"no-cache", b"No-Store", b"max-age=5"), 1):
            ask(world, f"m{count}", headers=((h.CACHE_CONTROL, control),))
            await eventually(partial(_answered, world, count))
    texts = {response.message_id: response.payload.text for response in world.responses}
    assert texts == {"m1": "old", "m2": "fresh", "m3": "secret", "m4": "fresh"}
    assert results(world, "bypassed") == 2


async def test_a_question_whose_worker_lost_its_partition_is_asked_by_the_next() -> None:
    world = cached(World(broker=MemoryBroker(partitions=2)))
    world.backend.hold()
    async with world.running() as subscription:
        value = envelope("lost", payload={"text": "same"})
        world.broker.append(Outgoing(TOPIC, None, value, (), partition=0))
        await eventually(lambda: len(world.backend.calls) == 1)
        for number in range(5):
            value = envelope(f"stays{number}", payload={"text": "same"})
            world.broker.append(Outgoing(TOPIC, None, value, (), partition=1))
        await eventually(lambda: len(world.workers[-1]._intake.assignments) == 2)
        await eventually(
            lambda: sum(len(each.running) for each in world.workers[-1]._intake.assignments) == 6
        )
        subscription.lose([PLACE])
        await eventually(lambda: len(world.backend.calls) == 2)
        world.backend.release()
        await eventually(lambda: len(world.answered) == 5)
    assert len(world.backend.calls) == 2, "one of those that waited asks for all"


async def test_a_like_question_gets_the_answer_and_says_that_it_is_only_like(world: World) -> None:
    similar: SimilarQuestions[Answer] = SimilarQuestions(SimilarPolicy(0.8, 0.05, 100), ngrams)
    kept = store()
    cached(world, kept, similar=similar).backend.then(Answer("press the button"))
    async with world.running():
        ask(world, "a", "how do I reset my router password")
        await eventually(lambda: world.answered == ["a"])
        ask(world, "b", "how do i reset my router pasword")
        ask(world, "c", "how do I not reset my router password")
        await eventually(lambda: len(world.answered) == 3)
    assert marks(world) == {"a": None, "b": "semantic", "c": None}
    assert results(world, "semantic") == 1


async def test_with_the_store_down_every_message_is_answered(world: World) -> None:
    down = RedisAnswerCache("redis://127.0.0.1:1/0", CacheBounds(1, 1, 1), lease=1, prefix="x:", timeout=0.2)
    cached(world, down)
    async with world.running():
        for number in range(3):
            ask(world, f"m{number}")
        await eventually(lambda: len(world.answered) == 3, 20)
    await down.close()
    assert {response.status for response in world.responses} == {"ok"}
