"""One suite for every store of gateways' answers: memory, and a real Redis."""

import asyncio
from collections.abc import AsyncIterator, Callable

import pytest

from tests.support import eventually, unique
from workers.core.errors import UnreachableError
from workers.core.ports import AnswerStore, Kept
from workers.stores.answers_memory import MemoryAnswerStore
from workers.stores.answers_redis import RedisAnswerStore

KEEP, SIZE = 3600.0, 100_000
Open = Callable[[float, int], AnswerStore]


@pytest.fixture(params=["memory", "redis"])
async def open_store(request: pytest.FixtureRequest) -> AsyncIterator[Open]:
    opened: list[AnswerStore] = []

    def opening(keep: float, size: int) -> AnswerStore:
        if request.param == "memory":
            opened.append(MemoryAnswerStore(keep=keep, size=size))
        else:
            url = request.getfixturevalue("redis_url")
            opened.append(RedisAnswerStore(url, keep=keep, size=size, timeout=60, prefix=unique("answers:")))
        return opened[-1]

    yield opening
    for store in opened:
        await store.close()


@pytest.fixture
def store(open_store: Open) -> AnswerStore:
    return open_store(KEEP, SIZE)


async def kept(store: AnswerStore, key: str) -> Kept | None:
    (found,) = await store.get([key])
    return found


async def test_what_was_never_taken_is_not_known(store: AnswerStore) -> None:
    assert await store.get(["a", "b"]) == [None, None]
    assert await store.get([]) == []


async def test_a_request_that_was_taken_is_known_until_it_is_answered_and_then_too(
    store: AnswerStore,
) -> None:
    assert await store.begin("a", b"question") is None
    assert await kept(store, "a") == Kept(b"question", None)
    await store.put({"a": b'{"status":"ok"}'})
    assert await kept(store, "a") == Kept(b"question", b'{"status":"ok"}')


async def test_who_begins_again_learns_what_is_known_and_changes_nothing(store: AnswerStore) -> None:
    await store.begin("a", b"first")
    assert await store.begin("a", b"second") == Kept(b"first", None)
    await store.put({"a": b"answer"})
    assert await store.begin("a", b"third") == Kept(b"first", b"answer")


async def test_an_answer_that_nobody_announced_is_kept_without_a_fingerprint(store: AnswerStore) -> None:
    await store.put({"a": b""})
    assert await kept(store, "a") == Kept(b"", b"")
    await store.put({"a": b"\x00\xff whatever"})
    assert await kept(store, "a") == Kept(b"", b"\x00\xff whatever")


async def test_of_many_who_begin_at_once_one_is_the_first(store: AnswerStore) -> None:
    found = await asyncio.gather(*(store.begin("a", b"%d" % number) for number in range(50)))
    assert found.count(None) == 1


async def test_a_thousand_answers_at_once_all_keep_their_own(open_store: Open) -> None:
    store = open_store(KEEP, 10_000_000)
    await store.put({f"k{number}": b"%d" % number for number in range(1000)})
    found = await store.get([f"k{number}" for number in range(1000)])
    assert [each.answer for each in found if each is not None] == [b"%d" % number for number in range(1000)]


async def test_beyond_its_size_the_oldest_go_first(open_store: Open) -> None:
    store = open_store(KEEP, 100_000)
    for number in range(30):
        await store.put({f"k{number}": b"x" * 10_000})
    found = [each is not None for each in await store.get([f"k{number}" for number in range(30)])]
    assert found == sorted(found), "a younger one went before an older one"
    assert 7 <= sum(found) <= 9


async def test_an_answer_that_is_replaced_takes_its_room_once(open_store: Open) -> None:
    store = open_store(KEEP, 50_000)
    await store.put({"stays": b"x" * 1000})
    for size in range(20):
        await store.put({"a": b"x" * (10_000 + size)})
    assert await kept(store, "stays") is not None


async def test_what_is_kept_ends(open_store: Open) -> None:
    store = open_store(0.05, SIZE)
    await store.put({"a": b"answer"})

    async def gone() -> bool:
        return await kept(store, "a") is None

    await eventually(gone)
    await store.put({"b": b"answer"})
    assert await store.begin("a", b"new") is None


async def test_what_ended_gives_its_room_back(redis_url: str) -> None:
    prefix = unique("room:")
    short, long = (
        RedisAnswerStore(redis_url, keep=keep, size=50_000, timeout=60, prefix=prefix)
        for keep in (0.05, KEEP)
    )
    for number in range(4):
        await short.put({f"k{number}": b"x" * 10_000})

    async def ended() -> bool:
        return await short.get([f"k{number}" for number in range(4)]) == [None] * 4

    await eventually(ended)
    await long.put({f"new{number}": b"x" * 10_000 for number in range(4)})
    assert all(await long.get([f"new{number}" for number in range(4)]))
    await short.close()
    await long.close()


async def test_a_redis_that_is_not_there_is_said_with_its_address() -> None:
    store = RedisAnswerStore("redis://user:CANARY@127.0.0.1:1/0", keep=KEEP, size=SIZE)
    with pytest.raises(UnreachableError, match=r"127\.0\.0\.1:1") as caught:
        await store.get(["a"])
    assert "CANARY" not in str(caught.value)
    await store.close()
