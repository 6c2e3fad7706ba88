"""Where a letter goes, what it carries, and why one stays."""

from typing import Any

import orjson
import pytest

from dlq_tools.estimate import Estimate
from dlq_tools.ledger_records import MENDED, Job, Mended
from dlq_tools.plan import Kept, Planned, Stays
from dlq_tools.preview import preview
from dlq_tools.surroundings import Surroundings
from schemas import headers as h
from tests.dlq_world import DLQ, LLM, DlqWorld, Everything, dead_letter, envelope, topology
from workers.core.errors import UsageError
from workers.core.records import Outgoing, Received


async def _plan(world: DlqWorld, record: Received, **spec: Any) -> Planned | Kept:
    around = await world.around()
    job = await world.begin(around, name=f"j{len(world.broker.records(DLQ))}", **spec)
    return world.planner(around, job).plan(record, around.ledger.state)


async def _kept(world: DlqWorld, letter: Outgoing, **spec: Any) -> Kept:
    [record] = world.add(letter)
    found = await _plan(world, record, **spec)
    assert isinstance(found, Kept), found
    return found


async def _sent(world: DlqWorld, letter: Outgoing, **spec: Any) -> Outgoing:
    [record] = world.add(letter)
    found = await _plan(world, record, **spec)
    assert isinstance(found, Planned), found
    return found.record


async def test_a_letter_goes_to_the_failing_targets_own_topic() -> None:
    assert (await _sent(DlqWorld(), dead_letter(1))).topic == LLM


async def test_one_without_a_target_goes_to_where_it_was_read() -> None:
    assert (await _sent(DlqWorld(), dead_letter(1, target=None))).topic == "model_requests"


async def test_one_of_a_foreign_system_goes_back_to_its_topic() -> None:
    headers = (
        ("__connect.errors.topic", LLM.encode()),
        ("__connect.errors.partition", b"1"),
        ("__connect.errors.offset", b"7"),
    )
    record = await _sent(DlqWorld(), Outgoing(DLQ, b"k", envelope(1), headers))
    assert record.topic == LLM
    assert h.get(record.headers, h.ORIGIN_OFFSET) == "7"
    assert not [name for name, _ in record.headers if name.startswith("__connect")]


async def test_one_that_says_nothing_of_itself_goes_to_the_requests_only_from_our_own_topic() -> None:
    assert (await _sent(DlqWorld(), Outgoing(DLQ, b"k", b"x"))).topic == "model_requests"
    world = DlqWorld()
    world.broker.state("dlq.other")
    kept = await _kept(world, Outgoing("dlq.other", b"k", b"x"))
    assert kept.why is Stays.NO_PLACE


async def test_a_target_that_is_gone_keeps_the_letter_unless_another_place_is_named() -> None:
    kept = await _kept(DlqWorld(), dead_letter(1, target="gone"))
    assert kept.why is Stays.NO_TARGET
    assert "'gone'" in kept.reason
    assert (await _sent(DlqWorld(), dead_letter(1, target="gone"), to="llm")).topic == LLM


async def test_what_is_larger_than_the_topic_takes_stays() -> None:
    world = DlqWorld(limits={LLM: 500})
    kept = await _kept(world, dead_letter(1, value=b"x" * 600))
    assert kept.why is Stays.TOO_LARGE
    assert "takes 500" in kept.reason


@pytest.mark.parametrize("by", ["deadline", "age"])
async def test_an_expired_message_stays_unless_it_is_renewed(by: str) -> None:
    world = DlqWorld(topology=topology(expires_after="5m")) if by == "age" else DlqWorld()
    letter = dead_letter(1, relay__deadline="1700000060000") if by == "deadline" else dead_letter(1)
    letter = letter._replace(timestamp_ms=1_700_000_000_000)
    assert (await _kept(world, letter)).why is Stays.EXPIRED
    renewed = await _sent(world, letter, renew=True)
    now = world.broker.clock.wall()
    assert orjson.loads(renewed.value or b"")["timestamp"] == pytest.approx(now, abs=60)
    if by == "deadline":
        assert (h.get_int(renewed.headers, h.DEADLINE) or 0) / 1000 == pytest.approx(now + 60, abs=60)


async def test_a_message_in_time_is_sent_byte_for_byte_also_with_renew() -> None:
    odd = b' {"message_id":"m-1", "source":"web","payload":{"text":"a"},"timestamp":1.70e9}'
    assert (await _sent(DlqWorld(), dead_letter(1, value=odd), renew=True)).value == odd


async def test_a_mended_copy_is_what_is_sent() -> None:
    world = DlqWorld()
    [record] = world.add(dead_letter(1))
    around = await world.around()
    copy = Mended(at=1, who="ana", how="editor", value="e30=")
    await around.ledger.write([(f"{MENDED}{record.position}", copy)])
    found = await _plan(world, record)
    assert isinstance(found, Planned)
    assert found.record.value == b"{}"


async def _preview(world: DlqWorld, **spec: Any) -> dict[str, Any]:
    around: Surroundings = await world.around()
    job: Job = await world.begin(around, **spec)
    bounds = await around.ends([DLQ])
    found = await preview(
        job,
        Everything(world.broker),
        world.planner(around, job),
        around.ledger.state,
        bounds,
        Estimate(world.topology),
    )
    found.require_destination()
    return found.as_json()


async def test_a_preview_counts_what_would_be_sent_and_what_stays() -> None:
    world = DlqWorld(limits={LLM: 2000})
    world.add(
        *(dead_letter(n) for n in range(8)), dead_letter(8, value=b"x" * 3000), dead_letter(9, target="gone")
    )
    found = await _preview(world)
    assert (found["selected"], found["would_send"]) == (10, 8)
    assert found["kept"] == {"too_large": 1, "no_such_target": 1}
    assert found["destinations"] == {LLM: 8}
    assert found["estimate"]["prompt_tokens"] > 0
    assert len(found["sample"]) == 5
    assert not world.sent()


async def test_nothing_but_letters_of_a_target_that_is_gone_is_an_error() -> None:
    world = DlqWorld()
    world.add(dead_letter(1, target="gone"))
    with pytest.raises(UsageError, match="'gone'"):
        await _preview(world)
