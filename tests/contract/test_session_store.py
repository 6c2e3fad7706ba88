"""One suite for every store of conversations: memory, and a real Redis."""

from collections.abc import AsyncIterator

import pytest

from tests.support import eventually
from workers.core.errors import UnreachableError
from workers.core.ports import KeptTurn, SessionBounds, SessionStore
from workers.stores.sessions_memory import MemorySessionStore
from workers.stores.sessions_redis import RedisSessionStore

BOUNDS = SessionBounds(turns=3, max_bytes=1000, ttl=3600)


@pytest.fixture(params=["memory", "redis"])
async def store(request: pytest.FixtureRequest) -> AsyncIterator[SessionStore]:
    opened: SessionStore
    if request.param == "memory":
        opened = MemorySessionStore()
    else:
        url = request.getfixturevalue("redis_url")
        opened = RedisSessionStore(url, timeout=60, prefix=f"{request.node.name}:")
    yield opened
    await opened.close()


def turn(number: int, value: bytes | None = None) -> KeptTurn:
    return KeptTurn(f"{number:032x}", value if value is not None else b"\x00turn\xff %d" % number)


async def test_turns_come_back_in_their_order_and_of_their_session_alone(store: SessionStore) -> None:
    for number in (2, 1):
        await store.append("a", turn(number), BOUNDS)
    await store.append("b", turn(9), BOUNDS)
    assert list(await store.turns("a")) == [turn(2), turn(1)]
    assert list(await store.turns("nobody")) == []


async def test_of_too_many_turns_the_oldest_go(store: SessionStore) -> None:
    for number in range(5):
        await store.append("a", turn(number), BOUNDS)
    assert list(await store.turns("a")) == [turn(2), turn(3), turn(4)]


async def test_of_too_many_bytes_the_oldest_go_and_one_too_long_leaves_nothing(store: SessionStore) -> None:
    for number in range(3):
        await store.append("a", turn(number, b"x" * 400), BOUNDS)
    assert [one.turn_id for one in await store.turns("a")] == [turn(1).turn_id, turn(2).turn_id]
    await store.append("a", turn(3, b"x" * 1000), BOUNDS)
    assert [one.turn_id for one in await store.turns("a")] == [turn(3).turn_id]
    await store.append("a", turn(4, b"x" * 1001), BOUNDS)
    assert list(await store.turns("a")) == []


async def test_a_turn_that_comes_again_stands_where_it_stood(store: SessionStore) -> None:
    for number in range(3):
        await store.append("a", turn(number), BOUNDS)
    await store.append("a", turn(1, b"again"), BOUNDS)
    assert list(await store.turns("a")) == [turn(0), turn(1, b"again"), turn(2)]


async def test_a_turn_that_grows_as_it_comes_again_makes_the_oldest_go(store: SessionStore) -> None:
    for number in range(2):
        await store.append("a", turn(number, b"x" * 400), BOUNDS)
    await store.append("a", turn(1, b"x" * 700), BOUNDS)
    assert list(await store.turns("a")) == [turn(1, b"x" * 700)]


async def test_a_session_that_is_quiet_for_too_long_is_forgotten(store: SessionStore) -> None:
    await store.append("a", turn(1), SessionBounds(turns=3, max_bytes=1000, ttl=0.05))

    async def gone() -> bool:
        return not await store.turns("a")

    await eventually(gone)
    await store.append("a", turn(2), BOUNDS)
    assert list(await store.turns("a")) == [turn(2)]


async def test_memory_holds_so_many_sessions_and_the_quietest_go() -> None:
    store = MemorySessionStore(limit=2)
    for session in ("a", "b", "a", "c"):
        await store.append(session, turn(1), BOUNDS)
    assert [len(await store.turns(session)) for session in ("a", "b", "c")] == [1, 0, 1]


async def test_a_redis_that_is_not_there_is_said_with_its_address() -> None:
    store = RedisSessionStore("redis://user:CANARY@127.0.0.1:1/0")
    for asked in (store.turns("a"), store.append("a", turn(1), BOUNDS)):
        with pytest.raises(UnreachableError, match=r"127\.0\.0\.1:1") as caught:
            await asked
        assert "CANARY" not in str(caught.value)
    await store.close()
