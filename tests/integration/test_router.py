"""The router as a process on a real broker."""

import asyncio
import signal
from collections.abc import Iterator
from pathlib import Path

import orjson
import pytest
from confluent_kafka import Producer
from confluent_kafka.admin import AdminClient
from confluent_kafka.cimpl import NewPartitions

from tests.processes import free_port, get
from tests.router_process import RouterRig, Tap, envelope
from tests.support import await_partitions, consume, eventually, produce, unique
from workers.core.exit_codes import ExitCode


@pytest.fixture
def rig(kafka: str, tmp_path: Path) -> Iterator[RouterRig]:
    rig = RouterRig(kafka, tmp_path)
    yield rig
    rig.stop()


async def test_messages_reach_their_target_and_failures_their_callers(rig: RouterRig) -> None:
    rig.prepare()
    router = await rig.in_service()
    good = [envelope(f"m{n}") for n in range(5)]
    produce(rig.bootstrap, rig.requests, good)
    poison = [b"\xff not json", b'{"message_id": "wrong", "source": 1}', b'{"broken']
    produce(rig.bootstrap, rig.requests, poison, key=b"caller", headers=[("x-note", b"two\nlines")])
    produce(rig.bootstrap, rig.requests, [None], key=b"tombstone")
    big = envelope("big", payload={"text": "x" * 5_000_000})
    produce(rig.bootstrap, rig.requests, [envelope("late", "iot"), big])

    routed = await asyncio.to_thread(consume, rig.bootstrap, rig.llm, 5)
    assert sorted(message.value() or b"" for message in routed) == good
    headers = dict(routed[0].headers() or [])
    assert headers["relay.target"] == b"llm"
    assert headers["relay.origin.topic"] == rig.requests.encode()
    dead = await asyncio.to_thread(consume, rig.bootstrap, rig.dead_letters, 4)
    assert {message.value() for message in dead} == {*poison, None}
    assert all(
        dict(message.headers() or [])["x-note"] == b"two\nlines" for message in dead if message.value()
    )
    answers = await asyncio.to_thread(consume, rig.bootstrap, rig.responses, 6)
    told = {
        (body := orjson.loads(message.value() or b""))["message_id"]: body["payload"]["error"]["code"]
        for message in answers
    }
    assert told == {
        "caller": "schema",
        "wrong": "schema",
        "tombstone": "schema",
        "late": "expired",
        "big": "too_large",
    }
    assert await rig.end(router) == ExitCode.DONE
    assert rig.lag() == 0


async def test_a_clean_restart_and_a_rebalance_repeat_nothing(rig: RouterRig) -> None:
    rig.prepare()
    tap = Tap(rig.bootstrap, rig.llm)
    ids = [f"m{n}" for n in range(6000)]
    first = rig.start()
    port = free_port()
    try:
        for start in range(0, 6000, 1000):
            produce(rig.bootstrap, rig.requests, [envelope(each) for each in ids[start : start + 1000]])
            if start == 1000:
                await eventually(lambda: tap.look() > 0, 60)
                second = rig.start("--health-port", str(port))
            if start == 3000:
                await eventually(lambda: tap.look() >= 4000, 60)
                await rig.ready(second, port)
                assert await rig.end(first) == ExitCode.DONE
        await eventually(lambda: tap.look() == len(ids), 60)
        assert await rig.end(second) == ExitCode.DONE
        tap.look(0.2)
        assert set(tap.ids) == set(ids)
        assert tap.duplicates == 0
        assert rig.lag() == 0
    finally:
        tap.close()


async def test_missing_topics_are_named_and_the_command_that_creates_them(rig: RouterRig) -> None:
    rig.prepare()
    rig.topology.write_text(rig.topology.read_text().replace(rig.responses, "not-there"))
    assert await rig.ended(rig.start()) == ExitCode.USAGE
    assert "not-there" in rig.log.read_text()
    assert "topology apply" in rig.log.read_text()


async def test_a_second_signal_aborts(rig: RouterRig) -> None:
    rig.prepare()
    router = await rig.in_service()
    router.send_signal(signal.SIGSTOP)  # so that both signals are there when it goes on
    router.send_signal(signal.SIGTERM)
    router.send_signal(signal.SIGINT)
    router.send_signal(signal.SIGCONT)
    assert await rig.ended(router) == ExitCode.ABORTED


async def test_a_delivery_that_fails_for_good_ends_the_process_and_commits_nothing_more(
    rig: RouterRig,
) -> None:
    rig.prepare(partitions=1)
    tap = Tap(rig.bootstrap, rig.llm)
    failing = rig.start_module("tests.router_failing", rig.bootstrap, str(rig.topology))
    produce(rig.bootstrap, rig.requests, [envelope("before")])
    await eventually(lambda: rig.lag() == 0, 60)
    produce(rig.bootstrap, rig.requests, [envelope("fail"), envelope("after")])
    assert await rig.ended(failing) == ExitCode.FATAL
    assert rig.lag() == 2
    router = rig.start("--member", "only")
    await eventually(lambda: tap.look() == 3, 60)
    assert await rig.end(router) == ExitCode.DONE
    assert rig.lag() == 0
    tap.close()


async def test_a_router_that_makes_no_progress_ends_itself(rig: RouterRig) -> None:
    rig.prepare(partitions=1)
    stuck = rig.start_module("tests.router_failing", rig.bootstrap, str(rig.topology), "3")
    produce(rig.bootstrap, rig.requests, [envelope("hang")])
    assert await rig.ended(stuck) == ExitCode.STUCK
    assert "no offset moves" in rig.log.read_text()
    assert rig.lag() == 1


async def test_a_drain_ends_at_its_deadline_and_commits_nothing_unfinished(rig: RouterRig) -> None:
    rig.prepare(partitions=1)
    hanging = rig.start_module("tests.router_failing", rig.bootstrap, str(rig.topology))
    produce(rig.bootstrap, rig.requests, [envelope("before")])
    await eventually(lambda: rig.lag() == 0, 60)
    produce(rig.bootstrap, rig.requests, [envelope("hang")])
    await eventually(lambda: '"hanging"' in rig.log.read_text(), 60)
    assert await rig.end(hanging) == ExitCode.ABORTED
    assert rig.lag() == 1


async def test_what_a_transaction_took_back_is_not_routed_and_its_marks_are_no_lag(rig: RouterRig) -> None:
    """Whoever restarts where nothing moves though there is lag would restart for ever."""
    rig.prepare(partitions=1)
    port = free_port()
    router = rig.start("--health-port", str(port))
    producer = Producer({"bootstrap.servers": rig.bootstrap, "transactional.id": unique("transaction")})
    await asyncio.to_thread(producer.init_transactions, 60)
    for finish, name in (
        (producer.commit_transaction, "sent"),
        (producer.abort_transaction, "taken-back"),
        (producer.commit_transaction, "last"),
    ):
        producer.begin_transaction()
        producer.produce(rig.requests, envelope(name))
        await asyncio.to_thread(producer.flush, 60)
        await asyncio.to_thread(finish, 60)
    routed = await asyncio.to_thread(consume, rig.bootstrap, rig.llm, 2)
    assert [orjson.loads(message.value() or b"")["message_id"] for message in routed] == ["sent", "last"]
    await eventually(lambda: _lag_shown(port) == 0, 60)
    await rig.end(router)


def _lag_shown(port: int) -> float:
    lines = (get(f"http://127.0.0.1:{port}/metrics") or b"").decode().splitlines()
    values = [float(line.split()[-1]) for line in lines if line.startswith("relayfleet_lag{")]
    assert values
    return sum(values)


async def test_a_partition_that_is_added_is_soon_read(rig: RouterRig) -> None:
    rig.prepare(partitions=1)
    router = await rig.in_service()
    await asyncio.to_thread(produce, rig.bootstrap, rig.requests, [envelope("before")])
    await asyncio.to_thread(consume, rig.bootstrap, rig.llm, 1)
    admin = AdminClient({"bootstrap.servers": rig.bootstrap})
    (added,) = admin.create_partitions([NewPartitions(rig.requests, 2)]).values()
    await asyncio.to_thread(added.result, 60)
    await asyncio.to_thread(await_partitions, admin, rig.requests, 2)
    values = [envelope(f"m{number}") for number in range(10)]
    await asyncio.to_thread(produce, rig.bootstrap, rig.requests, values, partition=1)
    assert len(await asyncio.to_thread(consume, rig.bootstrap, rig.llm, 11)) == 11
    assert await rig.end(router) == ExitCode.DONE


async def test_a_router_that_gets_no_partition_is_ready(rig: RouterRig) -> None:
    rig.prepare(partitions=1)
    ports = [free_port() for _ in range(3)]
    routers = [rig.start("--health-port", str(port)) for port in ports]
    for router, port in zip(routers, ports, strict=True):
        await rig.ready(router, port)
