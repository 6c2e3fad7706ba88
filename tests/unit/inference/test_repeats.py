"""Repeated messages in a whole worker: one call, the same answer, and no message left behind."""

import asyncio
from dataclasses import replace

from schemas.errors import ErrorClass
from tests.support import eventually
from tests.unit.inference.world import NEVER, StoreThatIsDown, World, once_key
from workers.backends.memory import MemoryBackend
from workers.core.errors import TransientError
from workers.core.metrics import CALLS_SAVED
from workers.core.ports import Claimed
from workers.inference.once import OncePolicy
from workers.inference.pool import PoolRules
from workers.policies.breaker import BreakerPolicy
from workers.stores.memory import MemoryOutcomeStore


class StoreThatTakesItsTime(MemoryOutcomeStore):
    """Records nothing until it may `go_on`."""

    def __init__(self, *, window: float, lease: float) -> None:
        super().__init__(window=window, lease=lease)
        self.asked, self.go_on = asyncio.Event(), asyncio.Event()

    async def record(self, key: str, token: int, outcome: bytes) -> bool:
        """See `OutcomeStore`."""
        self.asked.set()
        await self.go_on.wait()
        return await super().record(key, token, outcome)


async def test_a_message_that_comes_twice_is_called_once_and_answered_twice() -> None:
    world = World()
    world.send("a")
    async with world.running():
        await eventually(lambda: len(world.responses) == 1)
        world.send("a", "b")
        await eventually(lambda: len(world.responses) == 3)
    first, second, other = sorted(world.responses, key=lambda r: (r.message_id, bool(r.route.repeated)))
    assert _asked(world) == ["a", "b"]
    assert second.payload == first.payload
    assert (first.route.repeated, second.route.repeated, other.route.repeated) == (None, True, None)
    assert world.metrics.counter(CALLS_SAVED, "llm")._value.get() == 1


async def test_two_copies_in_flight_make_one_call_and_two_responses() -> None:
    world = World(sleep=lambda _: asyncio.sleep(0.001))
    world.backend.hold()
    world.send("a", "a")
    async with world.running():
        await eventually(lambda: _asked(world) == ["a"])
        world.backend.release()
        await eventually(lambda: len(world.responses) == 2)
    assert _asked(world) == ["a"]


async def test_an_answer_is_on_record_before_it_is_published() -> None:
    store = StoreThatTakesItsTime(window=2 * NEVER, lease=NEVER)
    world = World(outcomes=store)
    world.send("a")
    async with world.running():
        await store.asked.wait()
        await world.turns()
        assert world.responses == []
        store.go_on.set()
        await eventually(lambda: world.answered == ["a"])


async def test_a_copy_that_waits_holds_no_place_among_the_calls() -> None:
    world = World(concurrency=2, sleep=lambda _: asyncio.sleep(0.001))
    world.backend.hold()
    world.send("a", "a", "a", "b")
    async with world.running():
        await eventually(lambda: _asked(world) == ["a", "b"])
        world.backend.release()
        await eventually(lambda: len(world.responses) == 4)
    assert _asked(world).count("a") == 1


async def test_a_message_that_another_worker_left_is_called_once_its_lease_has_ended() -> None:
    store = MemoryOutcomeStore(window=60, lease=0.05)
    assert isinstance(await store.claim(once_key("a")), Claimed)
    world = World(outcomes=store, once=OncePolicy(lease=0.05))
    world.send("a")
    async with world.running():
        await eventually(lambda: world.answered == ["a"])


async def test_with_the_store_down_messages_are_answered_all_the_same() -> None:
    world = World(outcomes=StoreThatIsDown())
    world.send("a", "b")
    async with world.running():
        await eventually(lambda: len(world.responses) == 2)


async def test_with_the_store_down_messages_wait_where_the_topology_says_so() -> None:
    store = StoreThatIsDown()
    world = World(outcomes=store, once=OncePolicy(wait_for_store=True), sleep=lambda _: asyncio.sleep(0.001))
    world.send("a")
    async with world.running():
        await _turns(50)
        assert world.responses == []
        store.up = True
        await eventually(lambda: world.answered == ["a"])


async def test_a_drained_worker_leaves_no_lease_behind() -> None:
    store = MemoryOutcomeStore(window=2 * NEVER, lease=NEVER)
    world = World(outcomes=store)
    world.backend.hold()
    world.send("a")
    worker, _ = world.build()
    await worker.start(world.errors.append)
    await eventually(lambda: _asked(world) == ["a"])
    await worker.abort()
    assert isinstance(await store.claim(once_key("a")), Claimed)


async def test_a_message_that_is_handed_on_leaves_no_lease_behind() -> None:
    broken = MemoryBackend("bad", TransientError(ErrorClass.UPSTREAM_5XX, "broken"))
    breaker = BreakerPolicy(min_calls=1, open_for=1000.0)
    world = World(backends=[broken], rules=PoolRules(breaker=breaker, waits=False))
    world.target = replace(world.target, fallback=("small",))
    ids = [f"m{number}" for number in range(10)]
    world.send(*ids)
    async with world.running():
        await eventually(lambda: len(world.broker.records("model_requests.small")) == 10)
        claims = [await world.outcomes.claim(once_key(name)) for name in ids]
    assert [type(claim) for claim in claims] == [Claimed] * 10


def _asked(world: World) -> list[str]:
    return [call.request.message_id for call in world.backend.calls]


async def _turns(count: int) -> None:
    for _ in range(count):
        await asyncio.sleep(0)
