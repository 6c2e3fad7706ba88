"""The worker as a process, on a real broker, with the stub model behind it."""

import os
import signal
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.fleet import Fleet, running_fleet
from tests.support import eventually
from workers.core.exit_codes import ExitCode


@pytest.fixture
async def fleet(kafka: str, tmp_path: Path) -> AsyncIterator[Fleet]:
    """No router: messages are produced to the target's own topic."""
    async with running_fleet(kafka, tmp_path) as fleet:
        fleet.names = {**fleet.names, "requests": f"{fleet.names['requests']}.llm"}
        yield fleet


async def test_a_killed_worker_loses_nothing_and_repeats_little(fleet: Fleet) -> None:
    worker = await fleet.add("worker", "--member", "one")  # so that it has its partitions back at once
    fleet.send(5000)
    await eventually(lambda: fleet.calls()["total"] > 1500, 30)
    await worker.kill()
    worker.start()
    await fleet.ready(worker)
    history = await fleet.history()
    assert history.lost == []
    assert history.strangers == []
    assert history.failed == []
    assert history.duplicates < 2500, "more than what a commit interval and the calls in flight explain"


async def test_workers_that_are_replaced_one_by_one_repeat_no_call(fleet: Fleet) -> None:
    fleet.misbehave(delay_ms=10)
    old = await fleet.add("worker")
    fleet.send(3000)
    for _ in range(2):
        new = await fleet.add("worker")
        old.signal(signal.SIGTERM)
        assert await old.ended() == ExitCode.DONE, old.last_lines()
        old = new
    history = await fleet.history()
    assert history.row() == {
        "sent": 3000,
        "outcomes": 3000,
        "lost": 0,
        "duplicates": 0,
        "failed": 0,
        "dead_letters": 0,
        "paid_twice": 0,
    }


async def test_a_second_signal_aborts_a_drain_that_waits(fleet: Fleet) -> None:
    fleet.misbehave(hang_rate=1)
    worker = await fleet.add("worker")
    fleet.send(10)
    await eventually(lambda: fleet.calls()["total"] >= 10, 30)
    worker.signal(signal.SIGTERM)
    await eventually(lambda: not worker.is_ready())
    worker.signal(signal.SIGTERM)
    assert await worker.ended() == ExitCode.ABORTED


async def test_several_processes_share_the_work_and_stop_together(fleet: Fleet) -> None:
    workers = await fleet.add("worker", "--processes", "2")
    fleet.send(500)
    history = await fleet.history()
    assert (history.lost, history.duplicates) == ([], 0)
    workers.signal(signal.SIGTERM)
    assert await workers.ended() == ExitCode.DONE, workers.last_lines()
    assert workers.popen is not None
    with pytest.raises(ProcessLookupError):
        os.killpg(workers.popen.pid, 0)


async def test_a_target_that_is_not_in_the_topology_is_wrong_usage(fleet: Fleet) -> None:
    with pytest.raises(AssertionError, match="no such target: nobody"):
        await fleet.add("worker", "--target", "nobody")
    assert await fleet.processes[-1].ended() == ExitCode.USAGE
