"""From a client's question to its answer, and every way in which there is none."""

import asyncio
from collections.abc import Mapping
from typing import Any

import orjson
import pytest

from schemas import headers as h
from schemas.errors import ErrorClass
from tests.support import eventually
from tests.unit.gateway.world import World, limits, question
from workers.core.deadlines import Deadline
from workers.core.errors import UnreachableError
from workers.core.topology.gateway import Gateway
from workers.gateway import pending as pending_of
from workers.gateway.relay import Pending, RefusalError


async def answered(world: World, pending: Pending, text: str = "hello") -> str | None:
    world.reply(world.request(pending), text)
    answer = await pending.answer(30)
    assert answer is not None
    return answer.payload.text


async def test_a_question_is_with_the_broker_before_anybody_is_told_and_its_answer_comes_back(
    world: World,
) -> None:
    pending = await world.relay.submit(question("推荐一款笔记本"))
    (record,) = world.requests()
    envelope = orjson.loads(record.value or b"")
    assert envelope["payload"] == {"text": "推荐一款笔记本", "context": {}}
    assert (envelope["message_id"], envelope["source"]) == (pending.message_id, "gateway")
    assert record.key == pending.message_id.encode()
    assert await answered(world, pending, "这款") == "这款"


async def test_the_answer_comes_by_a_partition_that_this_gateway_reads(world: World) -> None:
    other = await World(broker=world.broker, store=world.store).start()
    await eventually(lambda: len(world.owned) < 5)
    for gateway in (world, other):
        headers = world.request(await gateway.relay.submit(question())).headers
        owned = gateway.owned
        assert ("model_responses", h.reply_partition(headers)) in owned
        assert ("model_chunks", h.chunks_partition(headers)) in owned
    await other.stop()


async def test_no_header_of_ours_is_the_clients_to_set(world: World) -> None:
    asked = question(
        tenant=None,
        target="orders",
        traceparent="00-" + "a" * 32 + "-" + "b" * 16 + "-01",
        tracestate="vendor=1",
        deadline=Deadline.after(2, world.clock),
    )
    await world.relay.submit(asked)
    headers = dict(world.requests()[0].headers)
    assert headers.pop("relay.reply-partition") is not None
    assert headers == {
        "content-type": b"application/json",
        "relay.target": b"orders",
        "relay.deadline": b"1700000002000",
        "traceparent": b"00-" + b"a" * 32 + b"-" + b"b" * 16 + b"-01",
        "tracestate": b"vendor=1",
    }
    forged = await world.relay.submit(question(traceparent="00-forged\nrelay.tenant: x", tracestate="x"))
    assert {name for name, _ in world.request(forged).headers} == {"relay.reply-partition", "content-type"}


@pytest.mark.parametrize(
    ("payload", "key"),
    [({"session_id": "s", "user_id": "u"}, b"s"), ({"user_id": "u"}, b"u"), ({}, b"m1")],
)
async def test_messages_of_one_session_share_a_key(world: World, payload: dict[str, str], key: bytes) -> None:
    asked = question(message_id="m1")
    await world.relay.submit(
        type(asked)({"message_id": "m1", "payload": {"text": "hi", **payload}}, client="c")
    )
    assert world.requests()[0].key == key


async def test_an_answer_nobody_waited_for_is_found_under_its_id(world: World) -> None:
    pending = await world.relay.submit(question())
    assert await pending.answer(0.01) is None
    assert await world.relay.find(None, pending.message_id) is None
    await world.relay.leave(pending)
    state = await world.relay.look(None, pending.message_id)
    assert state is not None
    assert state.reply is None
    world.reply(world.requests()[0], "late")
    found = await eventually(lambda: world.relay.find(None, pending.message_id))
    assert found is not None
    assert found.payload.text == "late"
    assert await world.relay.look(None, "never-asked") is None


async def test_an_answer_is_kept_before_its_offset_is_committed(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as away:
        away.setattr(world.store, "put", _refused)
        pending = await world.relay.submit(question())
        assert await answered(world, pending) == "hello"
        await world.replies._commit()  # as it does now and then
        assert all(at.offset == 0 for at in world.committed.values())
    await eventually(lambda: world.relay.find(None, pending.message_id))
    await eventually(lambda: sum(at.offset for at in world.committed.values()) == 1)


async def _refused(_: Mapping[str, bytes]) -> None:
    raise UnreachableError("no Redis (injected)")


async def test_a_waiter_hears_of_an_answer_that_another_gateway_read(world: World) -> None:
    looking = asyncio.create_task(world.relay.run())
    pending = await world.relay.submit(question())
    other = await World(broker=world.broker, store=world.store).start()
    await world.subscription.close(Deadline.after(1))
    world.replies.lost(list(world.replies._owned))
    await eventually(lambda: len(other.owned) == 7)
    world.reply(world.requests()[0], "by way of the store")
    answer = await pending.answer(30)
    assert answer is not None
    assert answer.payload.text == "by way of the store"
    looking.cancel()
    await other.stop()


async def test_the_same_question_under_the_same_id_gets_the_same_answer_without_being_sent_again(
    world: World,
) -> None:
    first = await world.relay.submit(question(message_id="mine"))
    assert await answered(world, first, "once") == "once"
    await eventually(lambda: world.relay.find(None, "mine"))
    again = await world.relay.submit(question(message_id="mine", timestamp=5))
    answer = await again.answer(0)
    assert answer is not None
    assert answer.payload.text == "once"
    assert len(world.requests()) == 1
    with pytest.raises(RefusalError, match="used for another question") as refused:
        await world.relay.submit(question("something else", message_id="mine"))
    assert refused.value.status == 422


async def test_two_who_ask_the_same_at_once_both_get_the_answer(world: World) -> None:
    pendings = [await world.relay.submit(question(message_id="mine")) for _ in range(2)]
    world.reply(world.requests()[0])
    for pending in pendings:
        assert await pending.answer(30) is not None


async def test_kafka_away_is_told_at_once_and_nothing_hangs(world: World) -> None:
    world.broker.hold_deliveries()
    with pytest.raises(RefusalError, match="did not confirm") as slow:
        await world.relay.submit(question(message_id="m1"))
    assert (slow.value.status, slow.value.message_id) == (503, "m1")
    assert slow.value.retry_after
    with pytest.raises(RefusalError, match="can't be reached") as fast:
        await world.relay.submit(question())
    assert (fast.value.status, fast.value.error_class) == (503, ErrorClass.CONNECT)
    world.broker.release_deliveries()
    await world.watch.look()
    await world.relay.submit(question())


async def test_the_watch_notices_an_outage_by_itself(world: World) -> None:
    world.broker.unreachable = True
    await world.watch.look()
    with pytest.raises(RefusalError, match="can't be reached"):
        await world.relay.submit(question())
    assert world.requests() == []


async def test_pieces_come_in_order_and_a_new_run_begins_anew(world: World) -> None:
    pending = await world.relay.submit(question(stream=True))
    (request,) = world.requests()
    assert orjson.loads(request.value or b"")["payload"]["stream"] is True
    world.chunk(request, 0, "a")
    world.chunk(request, 2, "lost its predecessor")
    world.chunk(request, 0, "A", run="r2", attempt=2)
    world.chunk(request, 1, "late, of a run that broke")
    world.chunk(request, 1, "B", run="r2", attempt=2, final=True)
    world.reply(request, "AB")
    pieces = [(chunk.run, chunk.text) async for chunk in pending.chunks()]
    assert pieces == [("r1", "a"), ("r2", "A"), ("r2", "B")]
    answer = await pending.answer(0)
    assert answer is not None
    assert answer.payload.text == "AB"


@pytest.fixture
def endless(monkeypatch: pytest.MonkeyPatch) -> None:
    """Pieces that are told of are waited for without end, others not at all."""
    for name, seconds in (("_LINGER", 3600.0), ("_LINGER_UNTOLD", 0.0), ("_LINGER_UNSTARTED", 0.0)):
        monkeypatch.setattr(pending_of, name, seconds)


async def pieces_of(pending: Pending) -> list[str]:
    async with asyncio.timeout(30):
        return [chunk.text async for chunk in pending.chunks()]


async def test_pieces_that_are_read_after_their_response_are_waited_for_where_it_tells_of_them(
    world: World, endless: None
) -> None:
    pending = await world.relay.submit(question(stream=True))
    (request,) = world.requests()
    reading = asyncio.create_task(pieces_of(pending))
    world.reply(request, "ab", timing={"first_token": 1.0})
    assert await pending.answer(30) is not None
    for index, text in enumerate("ab"):
        await asyncio.wait({reading}, timeout=0.02)
        assert not reading.done()
        world.chunk(request, index, text, final=text == "b")
    assert await reading == ["a", "b"]


@pytest.mark.parametrize(
    "told", [{"timing": {"total": 5.0}}, {"timing": {"first_token": 1.0}, "status": "error"}]
)
async def test_nothing_is_waited_for_where_a_response_tells_of_no_pieces_or_has_failed(
    world: World, endless: None, told: dict[str, Any]
) -> None:
    pending = await world.relay.submit(question(stream=True))
    world.reply(world.requests()[0], **told)
    assert await pieces_of(pending) == []


async def test_whoever_asks_the_same_too_late_for_its_first_piece_waits_for_none(
    world: World, endless: None
) -> None:
    await world.relay.submit(question(message_id="mine", stream=True))
    (request,) = world.requests()
    world.chunk(request, 0, "a")
    await eventually(lambda: world.registry.all()[0]._chunks)
    late = await world.relay.submit(question(message_id="mine", stream=True))
    world.reply(request, "ab", timing={"first_token": 1.0})
    assert await late.answer(30) is not None
    world.chunk(request, 1, "b", final=True)
    assert await pieces_of(late) == []


async def test_a_reader_too_slow_is_told_and_takes_no_more_memory() -> None:
    world = await World(settings=limits(stream_buffer=2000)).start()
    pending = await world.relay.submit(question(stream=True))
    (request,) = world.requests()
    for index in range(20):
        world.chunk(request, index, "x" * 100)
    await eventually(lambda: pending._overrun)
    with pytest.raises(RefusalError, match="faster than it was read"):
        [chunk async for chunk in pending.chunks()]
    world.reply(request, "whole")
    await eventually(lambda: world.relay.find(None, pending.message_id))
    await world.stop()


async def test_a_gateway_that_stops_takes_nothing_more(world: World) -> None:
    world.relay.stop()
    with pytest.raises(RefusalError, match="stopping") as refused:
        await world.relay.submit(question())
    assert refused.value.status == 503


async def test_a_gateway_without_partitions_takes_nothing() -> None:
    world = World(settings=Gateway())
    with pytest.raises(RefusalError, match="not in service yet"):
        await world.relay.submit(question())
