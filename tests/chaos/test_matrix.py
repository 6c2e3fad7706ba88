"""Nothing is lost, whatever breaks: the fleet on a real broker under every fault, judged message by message.

A few faults with a few messages run with all tests; `make chaos` runs the whole matrix with 20,000 messages each.
"""

import asyncio
import signal
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tests.brokers import PrivateBroker
from tests.chaos.rig import (
    CONCURRENCY,
    KEYS,
    LONGER_THAN_A_CALL,
    LONGER_THAN_A_SESSION,
    Fault,
    Rig,
    chaos_rig,
    under,
)
from tests.history import History


async def _both(rig: Rig, number: int) -> None:
    await asyncio.gather(rig.restart("router", number), rig.restart("worker", number))


async def _broker_killed(rig: Rig) -> None:
    rig.broker.kill()
    await asyncio.to_thread(rig.broker.start)


async def _broker_stopped(rig: Rig) -> None:
    await asyncio.to_thread(rig.broker.stop)
    await asyncio.sleep(2)
    await asyncio.to_thread(rig.broker.start)


async def _broker_frozen(rig: Rig) -> None:
    rig.broker.freeze()
    await asyncio.sleep(LONGER_THAN_A_SESSION)
    rig.broker.thaw()


async def _network_cut(rig: Rig) -> None:
    for _ in range(3):
        rig.broker.proxy.cut()
        await asyncio.sleep(1)
        rig.broker.proxy.heal()
        await asyncio.sleep(1)


async def _network_silent(rig: Rig) -> None:
    rig.broker.proxy.blackhole()
    await asyncio.sleep(LONGER_THAN_A_SESSION)
    rig.broker.proxy.heal()


async def _network_slow(rig: Rig) -> None:
    rig.broker.proxy.delay(0.2)
    await asyncio.sleep(8)
    rig.broker.proxy.heal()


async def _rebalances(rig: Rig) -> None:
    """Workers join and leave every few seconds."""
    for _ in range(3):
        joined = await rig.fleet.add("worker")
        await asyncio.sleep(2)
        joined.signal(signal.SIGTERM)
        await joined.ended(60)


async def _rolling_restart(rig: Rig) -> None:
    """One worker after the other, as a deployment does it."""
    for worker in rig.fleet.of("worker"):
        worker.signal(signal.SIGTERM)
        assert await worker.ended(60) == 0
        worker.start()
        await rig.fleet.ready(worker)


def _errors(rate: float) -> Fault:
    async def fault(rig: Rig) -> None:
        rig.fleet.misbehave(delay_ms=20, error_rate=rate, error_status=500)
        await asyncio.sleep(4)
        rig.fleet.misbehave(delay_ms=20)

    return fault


@dataclass(frozen=True)
class Case:
    """A fault, and what it may cost. `short`: also runs with all tests."""

    name: str
    fault: Fault
    short: bool = False
    repeats: int | None = (
        None  # calls paid twice at most; None: not counted, since the counter itself was killed
    )
    may_fail: bool = False  # messages may end as errors
    duplicates: int = (
        0  # where no call is repeated: responses beyond the first, which a killed router may cause
    )


def _restart(kind: str, number: int) -> Fault:
    return lambda rig: rig.restart(kind, number)


def _pause(kind: str) -> Fault:
    return lambda rig: rig.pause(kind, LONGER_THAN_A_SESSION)


KILL, TERM = signal.SIGKILL, signal.SIGTERM
IN_FLIGHT = 2 * CONCURRENCY  # of two workers
CASES = (
    Case("router SIGKILL", _restart("router", KILL), repeats=0, duplicates=2000),
    Case("router SIGTERM", _restart("router", TERM), repeats=0),
    Case("router SIGSTOP", _pause("router"), repeats=0, duplicates=2000),
    Case("worker SIGKILL", _restart("worker", KILL), short=True, repeats=IN_FLIGHT),
    Case("worker SIGTERM", _restart("worker", TERM), repeats=0),
    Case("worker SIGSTOP", _pause("worker"), short=True, repeats=IN_FLIGHT),
    Case("both SIGKILL", lambda rig: _both(rig, KILL), short=True, repeats=IN_FLIGHT),
    Case("both SIGTERM", lambda rig: _both(rig, TERM), repeats=0),
    Case("broker SIGKILL", _broker_killed, short=True, repeats=IN_FLIGHT),
    Case("broker SIGTERM", _broker_stopped, repeats=IN_FLIGHT),
    Case("broker SIGSTOP", _broker_frozen, repeats=IN_FLIGHT),
    Case("Redis SIGKILL", _restart("redis", KILL), short=True, repeats=IN_FLIGHT),
    Case("Redis SIGTERM", _restart("redis", TERM), repeats=IN_FLIGHT),
    Case("Redis SIGSTOP", lambda rig: rig.pause("redis", 6), repeats=IN_FLIGHT),
    Case("backend SIGKILL", _restart("stub", KILL), may_fail=True),
    Case(
        "backend SIGSTOP",
        lambda rig: rig.pause("stub", LONGER_THAN_A_CALL),
        repeats=10 * IN_FLIGHT,
        may_fail=True,
    ),
    Case("backend errs at 30 %", _errors(0.3), repeats=0, may_fail=True),
    Case("backend errs at 60 %", _errors(0.6), short=True, repeats=0, may_fail=True),
    Case("backend errs at 100 %", _errors(1.0), repeats=0, may_fail=True),
    Case("network cut", _network_cut, short=True, repeats=IN_FLIGHT),
    Case("network silent", _network_silent, repeats=IN_FLIGHT),
    Case("network slow", _network_slow, repeats=IN_FLIGHT),
    Case("rolling restart", _rolling_restart, short=True, repeats=0),
    Case("rebalances", _rebalances, short=True, repeats=0),
)


@pytest.mark.timeout(420)
@pytest.mark.parametrize(
    "case", [pytest.param(case, id=case.name, marks=() if case.short else pytest.mark.long) for case in CASES]
)
async def test_nothing_is_lost_and_order_is_kept(
    case: Case,
    restartable_kafka: PrivateBroker,
    tmp_path: Path,
    request: pytest.FixtureRequest,
    report: Callable[[dict[str, Any]], None],
) -> None:
    long = request.config.getoption("--chaos-long")
    messages, rate = (20_000, 1000.0) if long else (2_000, 400.0)
    async with chaos_rig(restartable_kafka, tmp_path) as rig:
        history, recovery = await under(case.fault, rig, messages, rate)
    report({"fault": case.name, **history.row(), "recovery_s": recovery})
    _judge(case, history)


def _judge(case: Case, history: History) -> None:
    assert history.lost == []
    assert history.strangers == []
    assert set(history.dead_letters) == set(history.failed)
    assert history.failed == [] or case.may_fail
    assert history.contradictions == [] or case.may_fail
    if case.repeats is not None:
        assert len(history.paid_twice) <= case.repeats
    if case.repeats == 0 and not case.may_fail:
        assert history.duplicates <= case.duplicates
    assert _out_of_order(history) == []


def _out_of_order(history: History) -> list[str]:
    """Ids whose first outcome came after that of a later message of the same key."""
    latest: dict[int, int] = {}
    late = []
    for message_id in history.first_outcomes:
        number = int(message_id.rpartition("-")[2])
        if number < latest.get(number % KEYS, -1):
            late.append(message_id)
        latest[number % KEYS] = max(number, latest.get(number % KEYS, -1))
    return late
