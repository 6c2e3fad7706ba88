"""Conversations: a message knows the turns before it, and each turn is remembered once."""

from typing import Any

import pytest

from schemas import headers as h
from schemas.errors import ErrorClass
from schemas.headers import Headers
from tests.support import eventually
from tests.unit.inference.world import TOPIC, World, envelope
from workers.backends.memory import MemoryBackend
from workers.core.errors import TransientError, UnreachableError
from workers.core.metrics import Metrics
from workers.core.ports import Answer, KeptTurn, SessionBounds, SessionStore
from workers.core.records import Outgoing
from workers.inference.conversation import ConversationPolicy, Conversations
from workers.stores.memory import MemoryOutcomeStore
from workers.stores.sessions_memory import MemorySessionStore

BOUNDS = SessionBounds(turns=3, max_bytes=10_000, ttl=60)


class FlakyStore(MemorySessionStore):
    """Fails until it is `up`."""

    def __init__(self) -> None:
        super().__init__()
        self.up = False
        self.asked = 0

    async def turns(self, session: str) -> Any:
        """See `SessionStore`."""
        self.asked += 1
        if not self.up:
            raise UnreachableError("the store is down")
        return await super().turns(session)

    async def append(self, session: str, turn: KeptTurn, bounds: SessionBounds) -> None:
        """See `SessionStore`."""
        self.asked += 1
        if not self.up:
            raise UnreachableError("the store is down")
        await super().append(session, turn, bounds)


def talking(world: World, store: SessionStore | None = None, *, wait: bool = False) -> World:
    """A world whose target keeps conversations."""
    policy = ConversationPolicy(BOUNDS, wait_for_store=wait)
    world.conversations = Conversations("llm", store or MemorySessionStore(), policy, Metrics())
    return world


async def say(world: World, message_id: str, text: str, headers: Headers = (), **payload: Any) -> None:
    """Send a message and wait for its answer."""
    count = len(world.answered) + 1
    payload = {"session_id": "s1", "text": text, **payload}
    world.broker.append(Outgoing(TOPIC, None, envelope(message_id, payload=payload), headers, partition=0))
    await eventually(lambda: len(world.answered) == count)


def told(world: World, call: int = -1) -> list[str]:
    """The messages of a call before its own text."""
    messages = world.backend.calls[call].request.payload.messages or []
    return [f"{message.role}: {message.content}" for message in messages]


async def test_a_message_knows_the_turns_before_it(world: World) -> None:
    world.backend.then(Answer("one"), Answer("two"))
    async with talking(world).running():
        for name, text in (("a", "first"), ("b", "second"), ("c", "third")):
            await say(world, name, text)
    assert told(world, 0) == []
    assert told(world, 1) == ["user: first", "assistant: one"]
    assert told(world, 2) == ["user: first", "assistant: one", "user: second", "assistant: two"]


async def test_of_another_session_tenant_or_source_it_knows_nothing(world: World) -> None:
    async with talking(world).running():
        await say(world, "a", "first")
        await say(world, "b", "x", session_id="s2")
        await say(world, "c", "x", headers=((h.TENANT, b"other"),))
    assert [told(world, n) for n in (1, 2)] == [[], []]


async def test_a_message_that_comes_again_is_one_turn(world: World) -> None:
    async with talking(world).running():
        await say(world, "a", "first")
        await say(world, "a", "first")
        await say(world, "b", "second")
    assert told(world) == ["user: first", "assistant: an answer"]


async def test_a_message_that_is_done_again_is_not_told_its_own_turn(world: World) -> None:
    talking(world)
    async with world.running():
        await say(world, "a", "first")
    # As if the worker had died before it could record the answer.
    world.outcomes = MemoryOutcomeStore(window=60, lease=10)
    world.backends = [MemoryBackend()]
    async with world.running():
        await say(world, "a", "first")
        assert told(world) == []
        await say(world, "b", "second")
    assert told(world) == ["user: first", "assistant: an answer"]


async def test_a_retry_knows_them_too_and_a_failure_is_no_turn(world: World) -> None:
    broke = TransientError(ErrorClass.CONNECT, "broke")
    world.retry(attempts=2)
    async with talking(world).running():
        await say(world, "a", "first")
        world.backend.then(broke)
        await say(world, "b", "second")
        assert told(world) == ["user: first", "assistant: an answer"]
        world.backend.then(broke, broke)
        await say(world, "c", "third")
        await say(world, "d", "fourth")
    assert "user: third" not in told(world)
    assert "user: second" in told(world)


async def test_who_brings_the_past_along_is_not_told_it_twice(world: World) -> None:
    past = [{"role": "user", "content": "p"}, {"role": "assistant", "content": "q"}]
    async with talking(world).running():
        await say(world, "a", "first")
        await say(world, "b", "second", messages=past)
        assert told(world) == ["user: p", "assistant: q"]
        await say(world, "c", "third")
    assert told(world)[2:] == ["user: second", "assistant: an answer"]


async def test_without_a_session_nothing_is_asked_of_the_store(world: World) -> None:
    store = FlakyStore()
    async with talking(world, store).running():
        world.send("a")
        await eventually(lambda: world.answered == ["a"])
    assert store.asked == 0


async def test_with_the_store_down_messages_are_answered_without_a_past(world: World) -> None:
    store = FlakyStore()
    async with talking(world, store).running():
        await say(world, "a", "first")
        store.up = True
        await say(world, "b", "second")
    assert [response.status for response in world.responses] == ["ok", "ok"]
    assert told(world) == []


async def test_where_the_topology_says_so_they_wait_for_the_store(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("workers.inference.conversation._STORE_RETRY", 0.001)
    store = FlakyStore()
    async with talking(world, store, wait=True).running():
        payload = {"session_id": "s1", "text": "first"}
        world.broker.append(Outgoing(TOPIC, None, envelope("a", payload=payload), partition=0))
        await eventually(lambda: store.asked > 3)
        assert world.backend.calls == []
        world.send("without a session")
        await eventually(lambda: world.answered == ["without a session"])
        store.up = True
        await eventually(lambda: len(world.answered) == 2)
        await say(world, "b", "second")
    assert told(world) == ["user: first", "assistant: an answer"]


async def test_a_turn_that_makes_no_sense_costs_nothing_but_itself(world: World) -> None:
    store = MemorySessionStore()
    async with talking(world, store).running():
        await say(world, "a", "first")
        (session,) = store._sessions
        for number, value in enumerate([b"not json", b"[1]", b'[{"content": "x"}]']):
            await store.append(session, KeptTurn(f"{number:032x}", value), SessionBounds(9, 1000, 60))
        await say(world, "b", "second")
    assert told(world) == ["user: first", "assistant: an answer"]
