"""The embedded broker under the supervisor."""

import asyncio
import os
import signal
import threading
from pathlib import Path

import psutil
import pytest

from tests.support import eventually
from workers.core.deadlines import Deadline
from workers.local.broker import BrokerCondition, BrokerStatus, EmbeddedBroker
from workers.local.kafka_part import RunningBroker, still_starting
from workers.local.restart import RestartPolicy
from workers.local.supervisor import Change, Part, State, Supervisor


async def ready() -> str | None:
    return None


async def test_a_killed_broker_is_started_again_at_the_same_address_and_stopped_in_the_end(
    tmp_path: Path,
) -> None:
    broker = EmbeddedBroker(tmp_path)
    changes: list[Change] = []
    async with Supervisor(changes.append) as supervisor:
        part = Part("kafka", lambda: RunningBroker.launch(broker), ready, restart=RestartPolicy(initial=0.01))
        await supervisor.start(part)
        first = broker.status()
        assert first.pid is not None
        os.kill(first.pid, signal.SIGKILL)
        await eventually(lambda: sum(change.state is State.READY for change in changes) == 2, timeout=90)
        second = broker.status()
        assert second.pid not in {None, first.pid}
        assert second.bootstrap == first.bootstrap
        assert await supervisor.stop(Deadline.after(30))
    assert broker.status().state is BrokerCondition.STOPPED


async def test_a_start_that_is_given_up_leaves_no_broker_behind(tmp_path: Path) -> None:
    broker = EmbeddedBroker(tmp_path)
    starting = asyncio.create_task(RunningBroker.launch(broker))
    await eventually(lambda: java_of(tmp_path), timeout=60)
    starting.cancel()
    await asyncio.wait((starting,))
    assert starting.cancelled()
    await eventually(lambda: java_of(tmp_path) == [], timeout=60)


class Late(EmbeddedBroker):
    """A broker whose start is held up: it runs when `go` is set, and not before."""

    def __init__(self, home: Path) -> None:
        super().__init__(home)
        self.go = threading.Event()
        self.log: list[str] = []

    def start(self, timeout: float = 0.0) -> BrokerStatus:
        self.go.wait()
        self.log.append("runs")
        return self.status()

    def kill(self) -> None:
        self.log.append("killed")


async def test_a_broker_that_runs_only_after_its_start_was_given_up_is_ended(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("workers.local.kafka_part._UNDO_WITHIN", 0.0)
    broker = Late(tmp_path)
    starting = asyncio.create_task(RunningBroker.launch(broker))
    await eventually(still_starting)
    starting.cancel()
    await asyncio.wait((starting,))
    assert "runs" not in broker.log
    broker.go.set()
    await eventually(lambda: broker.log[-2:] == ["runs", "killed"])


def java_of(home: Path) -> list[psutil.Process]:
    """The brokers of this home among our children; formatting the data does not count."""
    return [child for child in psutil.Process().children(recursive=True) if _is_broker(child, home)]


def _is_broker(process: psutil.Process, home: Path) -> bool:
    try:
        line = process.cmdline()
    except psutil.Error:  # ended meanwhile
        return False
    return "kafka.Kafka" in line and str(home) in " ".join(line)
