"""A batch is done when every record of it is in Kafka, and one bad record harms no other."""

import asyncio
from collections.abc import AsyncIterator

import orjson
import pytest

from schemas import headers as h
from tests.unit.router.support import LLM, envelope, received, topology
from workers.core.clock import ManualClock
from workers.core.errors import FatalError
from workers.core.events import EventLog
from workers.core.metrics import ANSWERED, DEAD_LETTERED, RECEIVED, ROUTED, Metrics
from workers.core.records import Headers, Received
from workers.kafka.memory import MemoryBroker, MemoryPublisher
from workers.router.batches import BatchRouter
from workers.router.pipeline import Pipeline
from workers.router.planner import Planner


def batches(
    publisher: MemoryPublisher, metrics: Metrics | None = None, broker: MemoryBroker | None = None
) -> BatchRouter:
    clock = ManualClock()
    events = EventLog((broker or MemoryBroker()).publisher(), "fleet_logs", "router", clock)
    return BatchRouter(Planner(topology(), clock), publisher, events, metrics or Metrics(), clock)


def ids(broker: MemoryBroker, topic: str) -> list[str]:
    return [orjson.loads(record.value or b"")["message_id"] for record in broker.records(topic)]


async def test_a_poison_record_is_isolated_and_the_others_are_routed_in_order() -> None:
    broker, metrics = MemoryBroker(partitions=1), Metrics()
    values = [envelope("a"), b"poison", envelope("b"), None, envelope("c")]
    await batches(broker.publisher(), metrics).begin([received(v, n) for n, v in enumerate(values)])
    assert ids(broker, "model_requests.llm") == ["a", "b", "c"]
    assert [record.value for record in broker.records("dlq.model_requests")] == [b"poison", None]
    assert len(broker.records("model_responses")) == 2
    assert metrics.count(RECEIVED, "router", "model_requests").total == 5
    assert metrics.count(ANSWERED, "", "error").total == 2
    assert metrics.count(ROUTED, "llm", "errors").total == 3
    assert metrics.count(DEAD_LETTERED, "router", "schema", "decode").total == 2


async def test_a_record_too_large_for_its_target_fails_alone() -> None:
    broker = MemoryBroker(partitions=1)
    publisher = broker.publisher(topic_max_bytes={"model_requests.llm": 1000})
    values = [envelope("a"), envelope("big", text="crash " * 300), envelope("b")]
    await batches(publisher).begin([received(v, n) for n, v in enumerate(values)])
    assert ids(broker, "model_requests.llm") == ["a", "b"]
    (dead,) = broker.records("dlq.model_requests")
    assert dead.value == values[1]
    assert dict(dead.headers)["relay.error.class"] == b"too_large"
    assert ids(broker, "model_responses") == ["big"]


async def test_the_caller_learns_even_where_the_dead_letter_is_too_large_as_well() -> None:
    broker = MemoryBroker(partitions=1)
    publisher = broker.publisher(topic_max_bytes={"model_requests.llm": 1000, "dlq.model_requests": 1000})
    await batches(publisher).begin([received(envelope("big", text="crash " * 300))])
    assert broker.records("dlq.model_requests") == []
    assert ids(broker, "model_responses") == ["big"]


async def test_each_step_is_told_and_never_the_text() -> None:
    broker = MemoryBroker(partitions=1)
    await batches(broker.publisher(), broker=broker).begin(
        [received(envelope("a", text="crash SECRET")), received(b"SECRET", 1)]
    )
    told = [orjson.loads(record.value or b"") for record in broker.records("fleet_logs")]
    assert [(each["event"], each.get("message_id")) for each in told] == [
        ("received", "a"),
        ("routed", "a"),
        ("received", "k"),
        ("dead_lettered", "k"),
    ]
    assert told[1]["target"] == "llm"
    assert told[3]["error_class"] == "schema"
    assert "SECRET" not in str(told)


class Rig:
    """A pipeline over a memory broker, with what it acknowledged and how it failed."""

    def __init__(self) -> None:
        self.broker = MemoryBroker(partitions=1)
        self.acknowledged: list[str] = []
        self.failures: list[BaseException] = []
        self.pipeline = Pipeline(batches(self.broker.publisher()).begin, self.failures.append)

    async def submit(self, name: str) -> None:
        records: list[Received] = [received(envelope(name))]
        await self.pipeline.submit(records, lambda: self.acknowledged.append(name))


@pytest.fixture
async def rig() -> AsyncIterator[Rig]:
    rig = Rig()
    running = asyncio.create_task(rig.pipeline.run())
    yield rig
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)


async def settle() -> None:
    for _ in range(20):
        await asyncio.sleep(0)


async def test_batches_overlap_and_are_acknowledged_only_when_delivered(rig: Rig) -> None:
    rig.broker.hold_deliveries()
    await rig.submit("a")
    await rig.submit("b")
    await settle()
    assert rig.acknowledged == []
    assert rig.pipeline.in_flight == 2
    rig.broker.release_deliveries()
    await settle()
    assert rig.acknowledged == ["a", "b"]
    assert ids(rig.broker, "model_requests.llm") == ["a", "b"]
    assert rig.pipeline.in_flight == 0


async def test_a_delivery_that_fails_for_good_stops_the_process_before_any_further_acknowledgement(
    rig: Rig,
) -> None:
    await rig.submit("a")
    await settle()
    rig.broker.fail_deliveries(1)
    await rig.submit("b")
    await rig.submit("c")
    await settle()
    assert rig.acknowledged == ["a"]
    assert [type(error) for error in rig.failures] == [FatalError]
    with pytest.raises(TimeoutError):
        await asyncio.wait_for(rig.submit("d"), 0.05)


async def test_a_batch_waits_for_room_and_no_longer(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("workers.router.pipeline.RECORDS_IN_FLIGHT", 2)
    rig.broker.hold_deliveries()
    await rig.submit("a")
    await rig.submit("b")
    third = asyncio.create_task(rig.submit("c"))
    await settle()
    assert not third.done()
    rig.broker.release_deliveries()
    await third
    await settle()
    assert rig.acknowledged == ["a", "b", "c"]


@pytest.mark.parametrize(
    ("key", "headers"), [(b"x" * 99_900, ()), (b"k", (("tracestate", b"x" * 99_900),))], ids=["key", "header"]
)
async def test_what_a_record_carries_leaves_its_error_response_room(key: bytes, headers: Headers) -> None:
    broker = MemoryBroker(partitions=1)
    publisher = broker.publisher(topic_max_bytes={"model_responses": 100_000})
    await batches(publisher).begin([received(b'{"message_id": "m1"}', key=key, headers=headers)])
    assert ids(broker, "model_responses") == ["m1"]


SHADOWED = topology(routes=[{"name": "default", "to": "llm", "shadow": "soon"}])


def shadowing(publisher: MemoryPublisher) -> BatchRouter:
    clock = ManualClock()
    events = EventLog(MemoryBroker().publisher(), "fleet_logs", "router", clock)
    return BatchRouter(Planner(SHADOWED, clock), publisher, events, Metrics(), clock)


async def test_a_copy_goes_to_the_shadow_and_says_whose_it_is() -> None:
    broker = MemoryBroker(partitions=1)
    await shadowing(broker.publisher()).begin([received(envelope("a"))])
    (message,), (copy,) = broker.records("model_requests.llm"), broker.records("model_requests.soon")
    assert (copy.key, copy.value) == (message.key, message.value)
    assert dict(copy.headers)["relay.shadow-of"] == b"llm"
    assert dict(copy.headers)["relay.target"] == b"soon"
    assert "relay.shadow-of" not in dict(message.headers)


async def test_a_message_that_is_not_routed_has_no_copy() -> None:
    broker = MemoryBroker(partitions=1)
    publisher = broker.publisher(topic_max_bytes={"model_requests.llm": 1000})
    values = [b"poison", envelope("big", text="crash " * 300)]
    await shadowing(publisher).begin([received(v, n) for n, v in enumerate(values)])
    assert broker.records("model_requests.soon") == []


async def test_a_producer_can_not_make_its_own_message_a_shadow() -> None:
    broker = MemoryBroker(partitions=1)
    await batches(broker.publisher()).begin([received(envelope("a"), headers=((h.SHADOW_OF, b"llm"),))])
    (message,) = broker.records("model_requests.llm")
    assert "relay.shadow-of" not in dict(message.headers)


async def test_a_batch_under_way_is_finished_by_the_routes_that_it_was_begun_with() -> None:
    broker, clock = MemoryBroker(partitions=1), ManualClock()
    router = batches(broker.publisher())
    assert router.leads_to == {"llm", "soon"}
    under_way = router.begin([received(envelope("a"))])
    routes, targets = [{"name": "default", "to": "soon"}], {"soon": LLM}
    router.use(Planner(topology(routes=routes, targets=targets), clock))
    await router.begin([received(envelope("b"))])
    assert router.leads_to == {"llm", "soon"}, "a batch that leads to llm is not delivered yet"
    await under_way
    assert router.leads_to == {"soon"}
    assert (ids(broker, "model_requests.llm"), ids(broker, "model_requests.soon")) == (["a"], ["b"])
