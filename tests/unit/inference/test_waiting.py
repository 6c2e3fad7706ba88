"""Messages that wait: for their key, for their delay topic, for their deadline, for their next owner."""

import asyncio
import random
from collections import defaultdict
from collections.abc import Awaitable, Callable
from dataclasses import replace

import pytest

from schemas import headers as h
from schemas.errors import ErrorClass
from tests.support import eventually
from tests.unit.inference.world import GROUP, TOPIC, World, envelope
from workers.backends.memory import MemoryBackend
from workers.core.clock import ManualClock, SystemClock
from workers.core.deadlines import Deadline
from workers.core.errors import TransientError
from workers.core.ports import Answer, Call
from workers.core.records import Outgoing, TopicPartition
from workers.inference.worker import TargetWorker
from workers.kafka.memory import MemoryBroker

DELAY_TOPIC = f"{TOPIC}.retry.short"
LATER = TransientError(ErrorClass.UPSTREAM_5XX, "later")


class Moody(MemoryBackend):
    """Takes a random time and fails now and then; `order` holds the ids as they were answered."""

    def __init__(self, failures: float = 0.2) -> None:
        super().__init__("moody")
        self.order: list[str] = []
        self.busy: set[bytes] = set()
        self._failures = failures
        self._rng = random.Random(5)

    async def call(self, call: Call) -> Answer:
        self.calls.append(call)
        await asyncio.sleep(self._rng.uniform(0, 0.004))
        if self._rng.random() < self._failures:
            raise LATER
        self.order.append(call.request.message_id)
        return Answer("done")


def until_two_are_answered(world: World) -> Callable[[float], Awaitable[None]]:
    async def sleep(_: float) -> None:
        await eventually(lambda: len(world.answered) == 2)

    return sleep


async def test_each_key_keeps_its_order_through_random_delays_and_retries(world: World) -> None:
    moody = Moody()
    world.backends, world.concurrency = [moody], 16
    world.intake = replace(world.intake, ordered=True)
    world.retry(ordered=True, attempts=50)
    sent: dict[int, list[str]] = defaultdict(list)
    for number in range(300):
        key = number % 12
        sent[key].append(f"{key}-{number}")
        world.send(sent[key][-1], key=b"%d" % key)
    async with world.running():
        await eventually(lambda: len(world.answered) == 300, 60)
    for key, ids in sent.items():
        assert [name for name in moody.order if name.startswith(f"{key}-")] == ids
        assert [name for name in world.answered if name.startswith(f"{key}-")] == ids
    assert world.committed_offset() == 300


async def test_a_message_between_attempts_holds_its_key_and_nobody_else(world: World) -> None:
    world.intake = replace(world.intake, ordered=True)
    world.retry(ordered=True)
    world.sleep = until_two_are_answered(world)
    world.backend.then(LATER)
    world.send("a1", "a2", key=b"a")
    world.send("b1", "b2", key=b"b")
    async with world.running():
        await eventually(lambda: len(world.answered) == 4)
    assert world.answered == ["b1", "b2", "a1", "a2"]


async def test_without_order_a_message_between_attempts_is_overtaken_and_frees_its_place(
    world: World,
) -> None:
    world.concurrency = 1
    world.sleep = until_two_are_answered(world)
    world.backend.then(LATER)
    world.send("a1", "a2", "a3", key=b"a")
    async with world.running():
        await eventually(lambda: len(world.answered) == 3)
    assert world.answered == ["a2", "a3", "a1"]


def with_delay_topic(world: World, seconds: float = 0.3) -> None:
    world.intake = replace(world.intake, delays={DELAY_TOPIC: seconds})
    world.retry(ladder=(("short", seconds),), hold_up_to=0.0, initial=0.1, max_wait=0.1, jitter=False)


async def test_a_long_wait_goes_through_the_delay_topic_and_keeps_the_record_as_it_was() -> None:
    clock = ManualClock()
    world = World(clock=clock)
    with_delay_topic(world)
    world.backend.then(TransientError(ErrorClass.UPSTREAM_5XX, "later"))
    (original,) = world.send("a", key=b"k", headers=(("mine", b"\x00\xff"), (h.ROUTE, b"errors")))
    async with world.running() as subscription:
        await eventually(lambda: world.committed_offset() == 1)
        await eventually(lambda: TopicPartition(DELAY_TOPIC, 0) in subscription.paused)
        assert world.answered == []
        clock.advance(0.3)
        await eventually(lambda: world.answered == ["a"])
        assert not subscription.paused
        await eventually(lambda: TopicPartition(DELAY_TOPIC, 0) in world.broker.group(GROUP).committed)
    (delayed,) = world.broker.records(DELAY_TOPIC)
    assert (delayed.value, delayed.key) == (original.value, original.key)
    assert delayed.headers[:2] == original.headers
    assert h.get_int(delayed.headers, h.ATTEMPT) == 1
    assert h.get_int(delayed.headers, h.NOT_BEFORE) is not None
    assert h.get_int(delayed.headers, h.RECEIVED_AT) == original.timestamp_ms
    assert h.get(delayed.headers, h.ORIGIN_OFFSET) == "0"
    assert world.responses[0].route.attempts == 2
    assert world.responses[0].route.rule == "errors"
    assert world.dead_letters == []


async def test_attempts_are_counted_through_the_delay_topic(world: World) -> None:
    with_delay_topic(world, 0.02)
    world.retry(attempts=3)
    world.backend.default = LATER
    world.send("a")
    async with world.running():
        await eventually(lambda: len(world.dead_letters) == 1)
    (letter,) = world.dead_letters
    assert h.get(letter.headers, h.ATTEMPT) == "3"
    assert len(world.backend.calls) == 3
    assert [name for name, _ in letter.headers].count(h.ATTEMPT) == 1
    assert h.get(letter.headers, h.ORIGIN_TOPIC) == TOPIC


async def test_a_clock_that_jumped_back_holds_no_message_longer_than_its_topic(world: World) -> None:
    with_delay_topic(world, 0.1)
    far = str(round((SystemClock().wall() + 86_400) * 1000)).encode()
    world.broker.append(Outgoing(DELAY_TOPIC, None, envelope("a"), ((h.NOT_BEFORE, far),), partition=0))
    async with world.running():
        await eventually(lambda: world.answered == ["a"])


async def test_the_call_gets_no_more_time_than_the_deadline_leaves() -> None:
    world = World(clock=ManualClock())
    deadline = str(round((world.clock.wall() + 2) * 1000)).encode()
    world.send("a", headers=((h.DEADLINE, deadline),))
    async with world.running():
        await eventually(lambda: world.answered == ["a"])
    assert world.backend.calls[0].timeout == pytest.approx(2.0)


async def test_a_retry_that_the_deadline_forbids_ends_as_expired_with_the_last_reason() -> None:
    world = World(clock=ManualClock())
    deadline = str(round((world.clock.wall() + 5) * 1000)).encode()
    world.backend.default = TransientError(ErrorClass.RATE_LIMITED, "slow down", retry_after=60.0)
    world.send("a", headers=((h.DEADLINE, deadline),))
    async with world.running():
        await eventually(lambda: world.answered == ["a"])
    error = world.responses[0].payload.error
    assert error is not None
    assert error.code == ErrorClass.EXPIRED
    assert "slow down" in error.reason
    assert world.dead_letters == []


async def test_a_message_with_less_time_than_an_answer_usually_takes_is_not_sent() -> None:
    clock = ManualClock()

    class Slow(MemoryBackend):
        async def call(self, call: Call) -> Answer:
            self.calls.append(call)
            clock.advance(0.3)
            return Answer("slow")

    world = World(clock=clock, backends=[Slow()])
    world.send("first")
    async with world.running():
        await eventually(lambda: world.answered == ["first"])
        deadline = str(round((clock.wall() + 0.1) * 1000)).encode()
        world.send("hopeless", headers=((h.DEADLINE, deadline),))
        await eventually(lambda: world.answered == ["first", "hopeless"])
    assert len(world.backends[0].calls) == 1  # type: ignore[attr-defined]  # the class above


async def test_workers_that_come_and_go_repeat_no_call_and_lose_nothing() -> None:
    moody = Moody(failures=0.0)
    world = World(broker=MemoryBroker(partitions=4), backends=[moody], concurrency=8)
    sent = [f"m{number}" for number in range(800)]
    workers: list[TargetWorker] = []
    for part in range(4):
        worker, _subscription = world.build()
        await worker.start(world.errors.append)
        workers.append(worker)
        for number in range(part * 200, part * 200 + 200):
            world.send(sent[number], partition=number % 4)
        before = len(moody.order)
        await eventually(lambda before=before: len(moody.order) > before + 40)  # type: ignore[misc]  # bound now
        if len(workers) > 1:
            moody.closed = False
            await workers.pop(0).drain(Deadline.after(60))
    await eventually(lambda: sorted(world.answered) == sorted(sent), 30)
    for worker in workers:
        await worker.drain(Deadline.after(60))
    calls = [call.request.message_id for call in moody.calls]
    assert sorted(calls) == sorted(sent)
    assert world.errors == []
