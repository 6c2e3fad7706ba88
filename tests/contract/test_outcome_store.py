"""One suite for every store of outcomes: memory, and a real Redis."""

import asyncio
from collections.abc import AsyncIterator

import pytest

from workers.core.errors import UnreachableError
from workers.core.ports import Busy, Claimed, OutcomeStore, Recorded, Recording
from workers.stores.memory import MemoryOutcomeStore
from workers.stores.redis import RedisOutcomeStore

WINDOW, LEASE = 7200.0, 3600.0


@pytest.fixture(params=["memory", "redis"])
async def store(request: pytest.FixtureRequest) -> AsyncIterator[OutcomeStore]:
    opened: OutcomeStore
    if request.param == "memory":
        opened = MemoryOutcomeStore(window=WINDOW, lease=LEASE)
    else:
        url = request.getfixturevalue("redis_url")
        opened = RedisOutcomeStore(
            url, window=WINDOW, lease=LEASE, timeout=60, prefix=f"{request.node.name}:"
        )
    yield opened
    await opened.close()


async def _token(store: OutcomeStore, key: str) -> int:
    claim = await store.claim(key)
    assert isinstance(claim, Claimed)
    return claim.token


async def test_of_many_copies_at_once_one_gets_the_lease(store: OutcomeStore) -> None:
    claims = await asyncio.gather(*(store.claim("a") for _ in range(100)))
    assert sum(isinstance(claim, Claimed) for claim in claims) == 1
    busy = [claim for claim in claims if isinstance(claim, Busy)]
    assert len(busy) == 99
    assert all(0 < claim.retry_in <= LEASE for claim in busy)


async def test_a_recorded_outcome_answers_every_later_copy(store: OutcomeStore) -> None:
    outcome = b"\x00answer\xff" * 100
    assert await store.record("a", await _token(store, "a"), outcome)
    assert await store.claim("a") == Recorded(outcome)
    assert isinstance(await store.claim("b"), Claimed)


async def test_many_are_claimed_and_recorded_in_one_go_each_for_itself(store: OutcomeStore) -> None:
    old = await _token(store, "0")
    await store.release("0", old)
    keys = [str(number) for number in range(700)]  # more than travel in one round trip
    tokens = [claim.token for claim in await store.claim_all(keys) if isinstance(claim, Claimed)]
    assert len(set(tokens)) == 700
    tokens[0] = old
    recordings = [Recording(key, token, key.encode()) for key, token in zip(keys, tokens, strict=True)]
    assert list(await store.record_all(recordings)) == [False] + [True] * 699
    first, *others = await store.claim_all(keys)
    assert isinstance(first, Busy)
    assert others == [Recorded(key.encode()) for key in keys[1:]]
    assert list(await store.claim_all([])) == []


async def test_a_released_lease_is_free_at_once(store: OutcomeStore) -> None:
    first = await _token(store, "a")
    await store.release("a", first)
    assert await _token(store, "a") > first


async def test_an_old_holder_can_neither_record_nor_renew_nor_release(store: OutcomeStore) -> None:
    old = await _token(store, "a")
    await store.release("a", old)
    new = await _token(store, "a")
    assert not await store.record("a", old, b"late")
    assert await store.renew({"a": old}) == {"a"}
    await store.release("a", old)
    assert await store.record("a", new, b"right")
    assert await store.claim("a") == Recorded(b"right")


async def test_renewing_tells_which_leases_are_gone(store: OutcomeStore) -> None:
    held, gone = await _token(store, "held"), await _token(store, "gone")
    await store.release("gone", gone)
    assert await store.renew({"held": held, "gone": gone}) == {"gone"}


async def test_a_recorded_outcome_stays_whoever_records_again(store: OutcomeStore) -> None:
    token = await _token(store, "a")
    assert await store.record("a", token, b"first")
    assert not await store.record("a", token, b"second")
    assert await store.claim("a") == Recorded(b"first")


async def test_what_is_asked_together_goes_to_its_own_key_with_its_own_outcome(store: OutcomeStore) -> None:
    keys = [f"r{number}" for number in range(40)]
    tokens = dict(zip(keys, await asyncio.gather(*(_token(store, key) for key in keys)), strict=True))
    outcomes = {key: b"" if key.endswith("0") else f"c1r2 {key}".encode() for key in keys[::2]}
    renewed = {key: tokens[key] for key in keys[1::4]}
    done = await asyncio.gather(
        *(store.record(key, tokens[key], outcome) for key, outcome in outcomes.items()),
        store.renew(renewed),
        *(store.release(key, tokens[key]) for key in keys[3::4]),
        *(store.claim(f"new {key}") for key in keys),
    )
    assert done[len(outcomes)] == frozenset()
    found = {key: await store.claim(key) for key in keys}
    assert {key: claim for key, claim in found.items() if key in outcomes} == {
        key: Recorded(outcome) for key, outcome in outcomes.items()
    }
    assert all(isinstance(found[key], Busy) for key in renewed)
    assert all(isinstance(found[key], Claimed) for key in keys[3::4])


async def test_a_recorded_outcome_is_not_released(store: OutcomeStore) -> None:
    token = await _token(store, "a")
    await store.record("a", token, b"kept")
    await store.release("a", token)
    assert await store.claim("a") == Recorded(b"kept")


async def test_a_thousand_ids_at_once_all_get_their_own_answer(store: OutcomeStore) -> None:
    tokens = await asyncio.gather(*(_token(store, f"id-{i}") for i in range(1000)))
    await asyncio.gather(*(store.record(f"id-{i}", token, f"{i}".encode()) for i, token in enumerate(tokens)))
    claims = await asyncio.gather(*(store.claim(f"id-{i}") for i in range(1000)))
    assert claims == [Recorded(f"{i}".encode()) for i in range(1000)]


async def test_a_redis_that_is_not_there_is_said_with_its_address() -> None:
    store = RedisOutcomeStore("redis://user:CANARY@127.0.0.1:1/0", window=WINDOW, lease=LEASE)
    with pytest.raises(UnreachableError, match=r"127\.0\.0\.1:1") as caught:
        await store.claim("a")
    assert "CANARY" not in str(caught.value)
    await store.close()


async def test_what_redis_can_not_be_sent_fails_its_caller_instead_of_keeping_it_waiting(
    redis_url: str,
) -> None:
    store = RedisOutcomeStore(redis_url, window=WINDOW, lease=LEASE, timeout=60, prefix="unsendable:")
    try:
        with pytest.raises(UnicodeEncodeError):
            await asyncio.wait_for(store.claim("\ud800"), 30)
        assert isinstance(await store.claim("after"), Claimed)
    finally:
        await store.close()
