"""Which questions a gateway takes: targets, tenants, limits, and what is no envelope."""

import pytest

from schemas import headers as h
from schemas.errors import ErrorClass
from tests.support import eventually
from tests.unit.gateway.world import World, limits, question
from workers.core.topology.tenants import Tenant
from workers.gateway.pending import key_of
from workers.gateway.relay import RefusalError


async def test_a_target_may_be_named_and_a_wrong_one_is_told_with_a_suggestion(world: World) -> None:
    with pytest.raises(RefusalError, match="did you mean 'orders'") as refused:
        await world.relay.submit(question(target="order"))
    assert (refused.value.status, refused.value.error_class) == (404, ErrorClass.UNROUTABLE)


async def test_a_tenant_uses_its_own_targets_and_its_name_is_in_a_header_alone() -> None:
    world = await World(tenants={"acme": Tenant(targets=("llm",)), "other": Tenant()}).start()
    with pytest.raises(RefusalError, match="not among yours") as refused:
        await world.relay.submit(question(tenant="acme", target="orders"))
    assert refused.value.status == 403
    asked = question(tenant="acme", target="llm")
    forged = type(asked)({**asked.fields, "tenant": "other"}, client="c", tenant="acme")
    await world.relay.submit(forged)
    (record,) = world.requests()
    assert h.get(record.headers, h.TENANT) == "acme"
    assert b"other" not in (record.value or b"")
    await world.stop()


async def test_a_tenant_sees_its_own_answers_alone(world: World) -> None:
    mine = await world.relay.submit(question("q", message_id="same-id", tenant="acme"))
    theirs = await world.relay.submit(question("other q", message_id="same-id", tenant="umbrella"))
    for record in world.requests():
        world.reply(record, f"for {h.get(record.headers, h.TENANT)}")
    for pending, text in ((mine, "for acme"), (theirs, "for umbrella")):
        answer = await pending.answer(30)
        assert answer is not None
        assert answer.payload.text == text
    await eventually(lambda: world.relay.find("acme", "same-id"))
    assert await world.relay.find(None, "same-id") is None
    assert await world.relay.find("nobody", "same-id") is None


async def test_no_two_tenants_share_a_key_whatever_they_are_called() -> None:
    keys = [
        key_of("a", "b:c"),
        key_of("a:b", "c"),
        key_of(None, "a:b:c"),
        key_of("-", "c"),
        key_of(None, "c"),
    ]
    assert len(set(keys)) == len(keys)


async def test_more_at_once_than_allowed_is_refused_and_room_comes_back() -> None:
    world = await World(settings=limits(in_flight=3, in_flight_per_client=2)).start()
    mine = [await world.relay.submit(question()) for _ in range(2)]
    with pytest.raises(RefusalError, match="of your requests") as refused:
        await world.relay.submit(question())
    assert (refused.value.status, refused.value.retry_after) == (429, 1.0)
    other = await world.relay.submit(type(question())({"payload": {"text": "hi"}}, client="10.0.0.2"))
    with pytest.raises(RefusalError, match="too many requests"):
        await world.relay.submit(type(question())({"payload": {"text": "hi"}}, client="10.0.0.3"))
    for pending in (*mine, other):
        pending.cancel()
        pending.cancel()
    assert world.relay.admission.in_flight == 0
    await world.relay.submit(question())
    await world.stop()


async def test_what_is_refused_leaves_nobody_waiting(world: World) -> None:
    world.broker.hold_deliveries()
    with pytest.raises(RefusalError):
        await world.relay.submit(question())
    assert len(world.registry) == 0
    assert world.relay.admission.in_flight == 0


async def test_a_tenants_rate_holds_and_recovers() -> None:
    world = await World(tenants={"acme": Tenant(rate=2, burst=3)}).start()
    for _ in range(3):
        (await world.relay.submit(question(tenant="acme"))).cancel()
    with pytest.raises(RefusalError, match="2 requests a second") as refused:
        await world.relay.submit(question(tenant="acme"))
    assert refused.value.retry_after == pytest.approx(0.5)
    world.clock.advance(0.5)
    await world.relay.submit(question(tenant="acme"))
    await world.stop()


@pytest.mark.parametrize(
    ("fields", "what"),
    [
        ({}, "payload"),
        ({"payload": {"context": {}}}, "payload.text"),
        ({"payload": {"text": 5}}, "payload.text"),
        ({"payload": {"text": "\ud800"}}, "Unicode"),
        ({"payload": {"text": "hi", "context": {"n": 2**70}}}, "64 bits"),
        ({"message_id": "a\nb", "payload": {"text": "hi"}}, "message_id"),
        ({"message_id": " a", "payload": {"text": "hi"}}, "message_id"),
        ({"message_id": "x" * 257, "payload": {"text": "hi"}}, "message_id"),
        ({"timestamp": "now", "payload": {"text": "hi"}}, "timestamp"),
    ],
)
async def test_what_is_no_envelope_is_refused_with_the_field(
    world: World, fields: dict[str, object], what: str
) -> None:
    with pytest.raises(RefusalError, match=what) as refused:
        await world.relay.submit(type(question())(fields, client="c"))
    assert refused.value.status == 422
    assert world.requests() == []


async def test_a_text_one_too_long_is_refused_and_one_as_long_as_allowed_is_not() -> None:
    world = await World(settings=limits(text=5)).start()
    await world.relay.submit(question("12345"))
    with pytest.raises(RefusalError, match="6 characters, 5 at most") as refused:
        await world.relay.submit(question("123456"))
    assert refused.value.status == 413
    messages = [{"role": "user", "content": "123"}, {"role": "user", "content": [{"text": "456"}]}]
    with pytest.raises(RefusalError, match="6 characters"):
        await world.relay.submit(type(question())({"payload": {"messages": messages}}, client="c"))
    await world.stop()
