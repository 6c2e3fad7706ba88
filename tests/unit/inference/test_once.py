"""A repeated id costs no second call; a store that is down costs no message."""

import asyncio
from collections.abc import Mapping

import pytest
from hypothesis import given
from hypothesis import strategies as st

from schemas.envelope import Payload, Request
from workers.core.clock import ManualClock
from workers.core.errors import UnreachableError
from workers.core.metrics import CALLS_SAVED, Metrics
from workers.core.ports import Answer, Claim, Claimed, Usage
from workers.inference.once import Later, Lease, OncePerId, OncePolicy
from workers.inference.recorded import key_of
from workers.stores.memory import MemoryOutcomeStore

UNREADABLE = [b"", b"{}", b"[]", b"\xff", b'"text"', b'{"text": "a", "usage": null, "of": "a later version"}']
ANSWER = Answer("你好 \x00", "model-1", "stop", Usage(1, 2, 3))


def _request(message_id: str = "m-1", source: str = "web") -> Request:
    return Request(message_id=message_id, source=source, payload=Payload(text="hi"), timestamp=0)


class _DownStore(MemoryOutcomeStore):
    """Answers nobody while `down`."""

    down = False

    async def claim(self, key: str) -> Claim:
        self._check()
        return await super().claim(key)

    async def record(self, key: str, token: int, outcome: bytes) -> bool:
        self._check()
        return await super().record(key, token, outcome)

    async def renew(self, leases: Mapping[str, int]) -> frozenset[str]:
        self._check()
        return await super().renew(leases)

    def _check(self) -> None:
        if self.down:
            raise UnreachableError("down")


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock()


@pytest.fixture
def store(clock: ManualClock) -> _DownStore:
    return _DownStore(window=60, lease=10, clock=clock)


def key(request: Request) -> str:
    """Of a request that was written with nothing but what was set."""
    return key_of(request.source, request.message_id, request.payload.model_dump(exclude_unset=True))


async def _lease(once: OncePerId, request: Request) -> Lease:
    start = await once.claim(key(request))
    assert isinstance(start, Lease)
    return start


async def test_a_repeated_message_gets_the_recorded_answer_whole_and_is_counted(store: _DownStore) -> None:
    metrics = Metrics()
    once = OncePerId("llm", store, OncePolicy(), metrics)
    await once.answered(await _lease(once, _request()), ANSWER)
    assert await once.claim(key(_request())) == ANSWER
    assert metrics.counter(CALLS_SAVED, "llm")._value.get() == 1


async def test_the_same_id_of_another_source_is_another_message(store: _DownStore) -> None:
    once = OncePerId("llm", store, OncePolicy(), Metrics())
    await once.answered(await _lease(once, _request(source="a")), ANSWER)
    assert isinstance(await once.claim(key(_request(source="b"))), Lease)


async def test_the_copy_of_a_message_in_work_comes_later(store: _DownStore) -> None:
    first, second = (OncePerId("llm", store, OncePolicy(), Metrics()) for _ in range(2))
    await _lease(first, _request())
    assert isinstance(await second.claim(key(_request())), Later)


async def test_a_failed_message_may_be_called_again_at_once(store: _DownStore) -> None:
    once = OncePerId("llm", store, OncePolicy(), Metrics())
    await once.failed(await _lease(once, _request()))
    assert isinstance(await once.claim(key(_request())), Lease)


async def test_a_lease_is_renewed_for_as_long_as_the_work_lasts(
    store: _DownStore, clock: ManualClock
) -> None:
    first, second = (OncePerId("llm", store, OncePolicy(lease=10), Metrics()) for _ in range(2))
    await _lease(first, _request())
    turns = 0

    async def sleep(seconds: float) -> None:
        nonlocal turns
        turns += 1
        clock.advance(seconds)
        if turns > 12:
            raise asyncio.CancelledError

    with pytest.raises(asyncio.CancelledError):
        await first.renew(sleep)
    assert isinstance(await second.claim(key(_request())), Later)


async def test_with_the_store_down_the_topology_chooses_between_going_on_and_waiting(
    store: _DownStore,
) -> None:
    store.down = True
    assert await OncePerId("llm", store, OncePolicy(), Metrics()).claim(key(_request())) is None
    waits = await OncePerId("llm", store, OncePolicy(wait_for_store=True), Metrics()).claim(key(_request()))
    assert isinstance(waits, Later)


async def test_an_answer_goes_out_though_it_can_not_be_recorded(store: _DownStore) -> None:
    once = OncePerId("llm", store, OncePolicy(), Metrics())
    lease = await _lease(once, _request())
    store.down = True
    await once.answered(lease, ANSWER)


async def test_an_id_that_is_reused_for_another_question_gets_no_old_answer(store: _DownStore) -> None:
    once = OncePerId("llm", store, OncePolicy(), Metrics())
    await once.answered(await _lease(once, _request()), ANSWER)
    other = Request(message_id="m-1", source="web", payload=Payload(text="another"), timestamp=0)
    assert isinstance(await once.claim(key(other)), Lease)


async def test_any_payload_that_can_be_read_can_be_told_apart(store: _DownStore) -> None:
    once = OncePerId("llm", store, OncePolicy(), Metrics())
    odd = Payload.model_validate(
        {"text": "a\x00b", "context": {"n": 10**40, "deep": [[[{}]]]}, "bytes": b"\xff"}
    )
    request = Request(message_id="m-1", source="web", payload=odd, timestamp=0)
    await once.answered(await _lease(once, request), ANSWER)
    assert await once.claim(key(request)) == ANSWER


@pytest.mark.parametrize("outcome", UNREADABLE)
async def test_a_record_of_another_version_is_no_reason_to_stop(store: _DownStore, outcome: bytes) -> None:
    lease = key(_request())
    claim = await store.claim(lease)
    assert isinstance(claim, Claimed)
    await store.record(lease, claim.token, outcome)
    assert await OncePerId("llm", store, OncePolicy(), Metrics()).claim(key(_request())) is None


@given(st.text("a\\0\x00", min_size=1, max_size=4), st.text("a\\0\x00", min_size=1, max_size=4))
def test_different_messages_have_different_keys(source: str, message_id: str) -> None:
    """One of them would get the other's answer."""
    for cut in range(1, len(source + message_id)):
        whole = f"{source}\x00{message_id}"
        other = _request(whole[cut + 1 :] or "a", whole[:cut])
        same = (other.source, other.message_id) == (source, message_id)
        assert same or key(other) != key(_request(message_id, source))
