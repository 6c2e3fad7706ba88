"""What is particular to messages that go together: one round trip for many, and every way off the express one."""

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import replace

import pytest

from schemas import headers as h
from schemas.errors import ErrorClass
from tests.support import eventually
from tests.unit.inference.world import NEVER, World, envelope, once_key
from workers.backends.memory import MemoryBackend
from workers.core.clock import ManualClock
from workers.core.deadlines import Deadline
from workers.core.errors import TransientError
from workers.core.ports import Answer, Call, Claim, Claimed, Recording, Told, Usage
from workers.core.records import Outgoing
from workers.inference.pipeline import Pipeline
from workers.inference.recorded import outcome_of
from workers.inference.waiting import settled
from workers.kafka.memory import MemoryPublisher
from workers.stores.memory import MemoryOutcomeStore


@pytest.fixture(autouse=True)
def way() -> None:
    """The express one, of which these tests are."""


class Counting(MemoryOutcomeStore):
    """Knows how many were asked for together, and holds its answers back when it is told to."""

    def __init__(self) -> None:
        super().__init__(window=2 * NEVER, lease=NEVER)
        self.claimed: list[int] = []
        self.recorded: list[int] = []
        self.answers = asyncio.Event()
        self.answers.set()

    async def claim_all(self, keys: Sequence[str]) -> Sequence[Claim]:
        self.claimed.append(len(keys))
        claims = await super().claim_all(keys)
        await self.answers.wait()
        return claims

    async def record_all(self, recordings: Sequence[Recording]) -> Sequence[bool]:
        self.recorded.append(len(recordings))
        await self.answers.wait()
        return await super().record_all(recordings)


class Faulty(MemoryOutcomeStore):
    """Has a bug."""

    async def claim_all(self, keys: Sequence[str]) -> Sequence[Claim]:
        raise KeyError(keys)


class Unready(MemoryBackend):
    """Can never be asked at once."""

    def begin(self, call: Call, told: Told) -> Callable[[], None] | None:
        return None


class Buggy(MemoryBackend):
    """Breaks as it is asked."""

    def begin(self, call: Call, told: Told) -> Callable[[], None] | None:
        raise KeyError("the secret prompt")


def leased(store: MemoryOutcomeStore, message_id: str) -> bool:
    entry = store._entries.get(once_key(message_id))
    return entry is not None and entry.outcome is None


async def stopped_by(bug: type[Exception], world: World) -> None:
    """Two messages stop the process, and nothing is committed."""
    world.send("a", "b")
    async with world.running():
        await eventually(lambda: bool(world.errors))
    assert isinstance(world.errors[0], bug)
    assert world.committed is None


async def test_what_starts_together_is_claimed_together_and_recorded_together() -> None:
    store = Counting()
    world = World(concurrency=30, outcomes=store)
    world.send(*(f"m{number}" for number in range(30)))
    async with world.running():
        await eventually(lambda: len(world.answered) == 30)
    assert store.claimed == [30]
    assert sum(store.recorded) == 30
    assert len(store.recorded) < 10


async def test_none_of_them_takes_a_task() -> None:
    world = World(concurrency=30)
    world.backend.hold()
    world.send(*(f"m{number}" for number in range(30)))
    async with world.running():
        await eventually(lambda: world.backend.in_flight == 30)
        assert not [task for task in asyncio.all_tasks() if "Dispatcher" in repr(task.get_coro())]
        world.backend.release()
        await eventually(lambda: len(world.answered) == 30)


async def test_an_instance_that_can_not_be_asked_at_once_is_called_with_the_same_lease() -> None:
    store = Counting()
    world = World(backends=[Unready()], outcomes=store)
    world.send("a", "b")
    async with world.running():
        await eventually(lambda: sorted(world.answered) == ["a", "b"])
    assert sum(store.claimed) == 2
    assert [await store.claim(once_key(name)) for name in "ab"] == [(outcome_of(world_answer()),)] * 2


async def test_a_failure_keeps_its_lease_through_its_next_attempts() -> None:
    waits: list[float] = []

    async def sleep(seconds: float) -> None:
        waits.append(seconds)
        assert leased(store, "a")

    store = Counting()
    world = World(outcomes=store, sleep=sleep)
    world.backend.then(TransientError(ErrorClass.UPSTREAM_5XX, "later"))
    world.send("a")
    async with world.running():
        await eventually(lambda: world.answered == ["a"])
    assert world.responses[0].route.attempts == 2
    assert len(waits) == 1
    assert store.claimed == [1]


async def test_a_failure_for_good_ends_its_lease() -> None:
    store = Counting()
    world = World(outcomes=store)
    world.retry(attempts=1)
    world.backend.default = TransientError(ErrorClass.UPSTREAM_5XX, "no")
    world.send("a")
    async with world.running():
        await eventually(lambda: world.answered == ["a"])
        assert not leased(store, "a")


async def test_a_bug_as_a_backend_is_asked_ends_one_message() -> None:
    world = World(backends=[Buggy()])
    world.send("a")
    async with world.running():
        await eventually(lambda: world.answered == ["a"])
    error = world.responses[0].payload.error
    assert error is not None
    assert error.code == ErrorClass.INTERNAL
    assert "secret" not in error.reason
    assert world.errors == []


async def test_a_bug_once_the_answer_is_there_stops_the_process_and_commits_nothing(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def broken(*_: object) -> None:
        raise KeyError("the secret prompt")

    monkeypatch.setattr(MemoryPublisher, "post", broken)
    await stopped_by(KeyError, World())


async def test_a_bug_as_outcomes_are_published_stops_the_process_and_commits_nothing(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def broken(*_: object) -> None:
        raise OverflowError("a partition beyond 31 bits")

    monkeypatch.setattr(MemoryPublisher, "deliver", broken)
    await stopped_by(OverflowError, World())


async def test_an_answer_that_can_not_be_recorded_goes_out_and_costs_its_neighbours_nothing() -> None:
    store = Counting()
    world = World(outcomes=store)
    world.backend.then(world_answer()._replace(usage=Usage(2**64, 0, 2**64)))
    world.send("a", "b", "c")
    async with world.running():
        await eventually(lambda: sorted(world.answered) == ["a", "b", "c"])
        await eventually(lambda: not leased(store, "a"))
    assert await store.claim(once_key("b")) == (outcome_of(world_answer()),)
    assert isinstance(await store.claim(once_key("a")), Claimed)


async def test_who_leaves_waits_for_what_the_store_is_being_asked() -> None:
    store = Counting()
    world = World(outcomes=store)
    store.answers.clear()
    world.send("a")
    async with world.running():
        await eventually(lambda: store.claimed == [1])
        closing = asyncio.create_task(settled(world.workers[0]._dispatcher.tasks, Deadline.after(NEVER)))
        await world.turns()
        assert not closing.done()
        store.answers.set()
        await closing


async def test_a_bug_in_the_store_stops_the_process_and_commits_nothing() -> None:
    await stopped_by(KeyError, World(outcomes=Faulty(window=1, lease=1)))


async def test_what_is_given_up_while_its_lease_is_asked_for_is_called_by_nobody() -> None:
    store = Counting()
    world = World(outcomes=store)
    store.answers.clear()
    world.send("a")
    worker, _ = world.build()
    await worker.start(world.errors.append)
    await eventually(lambda: store.claimed == [1])
    await worker.drain(Deadline.after(0))
    store.answers.set()
    await eventually(lambda: not leased(store, "a"))
    assert world.backend.calls == []


async def test_what_is_given_up_while_it_is_called_leaves_the_call_and_its_lease() -> None:
    store = Counting()
    world = World(outcomes=store)
    world.backend.hold()
    world.send("a")
    worker, _ = world.build()
    await worker.start(world.errors.append)
    await eventually(lambda: world.backend.in_flight == 1)
    await worker.drain(Deadline.after(0))
    await eventually(lambda: world.backend.in_flight == 0 and not leased(store, "a"))
    assert (world.answered, world.committed) == ([], None)


async def test_what_is_given_up_while_it_is_recorded_comes_again_and_is_answered_from_the_record() -> None:
    store = Counting()
    world = World(outcomes=store)
    world.backend.hold()
    world.send("a")
    worker, _ = world.build()
    await worker.start(world.errors.append)
    await eventually(lambda: world.backend.in_flight == 1)
    store.answers.clear()
    world.backend.release()
    await eventually(lambda: store.recorded == [1])
    await worker.drain(Deadline.after(0))
    store.answers.set()
    assert world.answered == []
    async with world.running():
        await eventually(lambda: world.answered == ["a"])
    assert len(world.backend.calls) == 1
    assert world.responses[0].route.repeated


async def test_a_message_that_expires_while_its_lease_is_asked_for_is_not_called() -> None:
    clock, store = ManualClock(), Counting()
    world = World(clock=clock, outcomes=store)
    store.answers.clear()
    deadline = str(round((clock.wall() + 5) * 1000)).encode()
    world.send("a", headers=((h.DEADLINE, deadline),))
    async with world.running():
        await eventually(lambda: store.claimed == [1])
        clock.advance(6)
        store.answers.set()
        await eventually(lambda: world.answered == ["a"])
        assert not leased(store, "a")
    assert world.backend.calls == []
    error = world.responses[0].payload.error
    assert error is not None
    assert error.code == ErrorClass.EXPIRED


async def test_a_stream_is_read_once_and_goes_with_a_task(monkeypatch: pytest.MonkeyPatch) -> None:
    walked: list[str] = []
    process = Pipeline.process

    async def told(self: Pipeline, message, slot):  # type: ignore[no-untyped-def]  # as the method it stands for
        walked.append(message.message_id)
        return await process(self, message, slot)

    monkeypatch.setattr(Pipeline, "process", told)
    world = World()
    stream = envelope("a", payload={"text": "hello", "stream": True})
    world.broker.append(Outgoing("model_requests.llm", None, stream, partition=0))
    world.send("b")
    async with world.running():
        await eventually(lambda: sorted(world.answered) == ["a", "b"])
    assert walked == ["a"]


async def test_of_a_target_that_needs_more_than_a_call_no_message_goes_express() -> None:
    store = Counting()
    world = World(outcomes=store)
    world.target = replace(world.target, fit=NoFit())  # type: ignore[arg-type]  # all that is asked of it
    world.send("a", "b")
    async with world.running():
        await eventually(lambda: sorted(world.answered) == ["a", "b"])
    assert store.claimed == [1, 1]


class NoFit:
    """Everything fits."""

    def elsewhere(self, *_: object) -> tuple[str, ...]:
        return ()


def world_answer() -> Answer:
    return MemoryBackend().default  # type: ignore[return-value]  # an answer, unless told otherwise
