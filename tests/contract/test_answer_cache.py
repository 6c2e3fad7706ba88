"""One suite for every cache of answers: memory, and a real Redis."""

import asyncio
from collections.abc import AsyncIterator, Callable

import pytest

from tests.support import eventually
from workers.core.errors import UnreachableError
from workers.core.ports import AnswerCache, Busy, CacheBounds, Claimed, Recorded
from workers.stores.cache_memory import MemoryAnswerCache
from workers.stores.cache_redis import RedisAnswerCache

LEASE = 3600.0
Open = Callable[..., AnswerCache]


@pytest.fixture(params=["memory", "redis"])
async def open_cache(request: pytest.FixtureRequest) -> AsyncIterator[Open]:
    opened: list[AnswerCache] = []

    def open_one(ttl: float = 3600.0, entries: int = 100, max_bytes: int = 100_000) -> AnswerCache:
        bounds = CacheBounds(ttl, entries, max_bytes)
        if request.param == "memory":
            opened.append(MemoryAnswerCache(bounds, lease=LEASE))
        else:
            url = request.getfixturevalue("redis_url")
            opened.append(
                RedisAnswerCache(url, bounds, lease=LEASE, timeout=60, prefix=f"{request.node.name}:")
            )
        return opened[-1]

    yield open_one
    for cache in opened:
        await cache.close()


@pytest.fixture
def cache(open_cache: Open) -> AnswerCache:
    return open_cache()


async def keep(cache: AnswerCache, key: str, answer: bytes) -> None:
    claim = await cache.claim(key)
    assert isinstance(claim, Claimed)
    assert await cache.record(key, claim.token, answer)


async def kept(cache: AnswerCache, *keys: str) -> list[str]:
    found = []
    for key in keys:
        claim = await cache.claim(key)
        if isinstance(claim, Recorded):
            found.append(key)
        elif isinstance(claim, Claimed):
            await cache.release(key, claim.token)
    return found


async def test_of_many_who_ask_at_once_one_calls_and_the_others_get_its_answer(cache: AnswerCache) -> None:
    claims = await asyncio.gather(*(cache.claim("a") for _ in range(100)))
    (token,) = [claim.token for claim in claims if isinstance(claim, Claimed)]
    assert sum(isinstance(claim, Busy) and 0 < claim.retry_in <= LEASE for claim in claims) == 99
    assert await cache.record("a", token, b"\x00\xff answer")
    assert await cache.claim("a") == Recorded(b"\x00\xff answer")


async def test_without_an_answer_the_next_one_may_ask(cache: AnswerCache) -> None:
    first = await cache.claim("a")
    assert isinstance(first, Claimed)
    await cache.release("a", first.token)
    second = await cache.claim("a")
    assert isinstance(second, Claimed)
    assert not await cache.record("a", first.token, b"late")
    assert await cache.renew({"a": first.token, "other": 1}) == {"a", "other"}
    assert await cache.renew({"a": second.token}) == frozenset()


async def test_an_answer_ends_with_its_time(open_cache: Open) -> None:
    cache = open_cache(ttl=0.05)
    await keep(cache, "a", b"1")
    await eventually(lambda: _gone(cache, "a"))


async def test_the_oldest_answers_go_when_there_are_too_many(open_cache: Open) -> None:
    cache = open_cache(entries=3)
    for key in "abcd":
        await keep(cache, key, b"x")
    assert await kept(cache, *"abcd") == ["b", "c", "d"]


async def test_the_oldest_answers_go_when_they_are_too_large(open_cache: Open) -> None:
    cache = open_cache(max_bytes=100)
    await keep(cache, "a", b"x" * 40)
    await keep(cache, "b", b"x" * 40)
    await keep(cache, "c", b"x" * 40)
    assert await kept(cache, *"abc") == ["b", "c"]
    await keep(cache, "d", b"x" * 101)
    assert await kept(cache, *"abcd") == []


async def test_an_answer_that_is_replaced_counts_once_and_is_the_newest(open_cache: Open) -> None:
    cache = open_cache(entries=2, max_bytes=100)
    await keep(cache, "a", b"x" * 40)
    await keep(cache, "b", b"x" * 40)
    await cache.replace("a", b"y" * 40)
    assert await cache.claim("a") == Recorded(b"y" * 40)
    await keep(cache, "c", b"x" * 40)
    assert await kept(cache, *"abc") == ["a", "c"]


async def test_what_is_under_way_does_not_fall_to_the_bounds(open_cache: Open) -> None:
    cache = open_cache(entries=1)
    asked = await cache.claim("asked")
    assert isinstance(asked, Claimed)
    for key in "abc":
        await keep(cache, key, b"x")
    assert isinstance(await cache.claim("asked"), Busy)
    assert await cache.record("asked", asked.token, b"x")


async def test_what_has_expired_takes_nobodys_place(redis_url: str) -> None:
    short = RedisAnswerCache(redis_url, CacheBounds(0.05, 2, 1000), lease=LEASE, timeout=60, prefix="expiry:")
    cache = RedisAnswerCache(redis_url, CacheBounds(3600, 2, 1000), lease=LEASE, timeout=60, prefix="expiry:")
    try:
        await keep(short, "gone", b"x")
        await eventually(lambda: _gone(short, "gone"))
        await keep(cache, "a", b"x")
        await keep(cache, "b", b"x")
        assert await kept(cache, "a", "b") == ["a", "b"]
    finally:
        await short.close()
        await cache.close()


async def _gone(cache: AnswerCache, key: str) -> bool:
    return await kept(cache, key) == []


async def test_a_redis_that_is_not_there_is_said_with_its_address() -> None:
    bounds = CacheBounds(1.0, 1, 1)
    cache = RedisAnswerCache("redis://user:CANARY@127.0.0.1:1/0", bounds, lease=LEASE, prefix="x:")
    with pytest.raises(UnreachableError, match=r"127\.0\.0\.1:1") as caught:
        await cache.claim("a")
    assert "CANARY" not in str(caught.value)
    await cache.close()
