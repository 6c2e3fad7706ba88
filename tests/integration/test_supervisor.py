"""The supervisor with small real processes."""

import asyncio
import os
import signal
import subprocess
import sys
from collections.abc import AsyncIterator, Callable, Mapping
from pathlib import Path

import psutil
import pytest

from tests.support import eventually
from workers.core.deadlines import Deadline
from workers.local.children import Child
from workers.local.restart import RestartPolicy
from workers.local.supervisor import Change, Part, PartFailedError, Running, State, Supervisor

OBEDIENT = "import signal, pathlib; signal.sigwait({signal.SIGTERM})"
STUBBORN = (
    "import signal; signal.signal(signal.SIGTERM, signal.SIG_IGN); print('here', flush=True); signal.pause()"
)
QUICK = RestartPolicy(initial=0.01, longest=0.02)
LONG = 60.0  # seconds; for what must come, on the slowest machine


class Fleet:
    """A supervisor, what it said, and what it launched."""

    def __init__(self, directory: Path, environment: Mapping[str, str]) -> None:
        self.directory = directory
        self.environment = environment
        self.changes: list[Change] = []
        self.pids: dict[str, list[int]] = {}
        self.waits: list[float] = []
        self.supervisor = Supervisor(self.changes.append, sleep=self._sleep)

    async def _sleep(self, seconds: float) -> None:
        self.waits.append(seconds)
        await asyncio.sleep(0)

    def part(
        self, name: str, code: str, *, stage: int = 0, ready: Callable[[], str | None] = lambda: None
    ) -> Part:
        """A part that runs Python `code`."""

        async def launch() -> Running:
            child = await Child.spawn(
                (sys.executable, "-I", "-S", "-c", code),
                log=self.directory / f"{name}.log",
                environment=self.environment,
                directory=self.directory,
            )
            self.pids.setdefault(name, []).append(child.pid)
            return child

        async def probe() -> str | None:
            return ready()

        return Part(name, launch, probe, stage=stage, ready_within=LONG, restart=QUICK)

    def states(self, name: str) -> list[State]:
        """Through which states a part went."""
        return [change.state for change in self.changes if change.name == name]


@pytest.fixture
async def fleet(tmp_path: Path) -> AsyncIterator[Fleet]:
    fleet = Fleet(tmp_path, {})
    async with fleet.supervisor:
        yield fleet
    pids = [pid for started in fleet.pids.values() for pid in started]
    await eventually(lambda: not any(map(psutil.pid_exists, pids)), LONG)  # killed, and not at once gone


async def test_a_part_is_ready_when_its_probe_says_so(fleet: Fleet) -> None:
    flag = fleet.directory / "ready"
    code = f"import pathlib; pathlib.Path({str(flag)!r}).touch(); " + OBEDIENT
    await fleet.supervisor.start(fleet.part("p", code, ready=lambda: None if flag.exists() else "not yet"))
    assert fleet.states("p") == [State.STARTING, State.READY]


async def test_a_part_that_dies_is_started_again_and_the_reason_told(fleet: Fleet) -> None:
    flag = fleet.directory / "ready"
    code = f"import pathlib; print('at work', flush=True); pathlib.Path({str(flag)!r}).touch(); " + OBEDIENT
    await fleet.supervisor.start(fleet.part("p", code, ready=lambda: None if flag.exists() else "not yet"))
    os.kill(fleet.pids["p"][0], signal.SIGKILL)
    await eventually(lambda: fleet.states("p").count(State.READY) == 2, LONG)
    [waiting] = [change for change in fleet.changes if change.state is State.WAITING]
    assert waiting.why == "killed by SIGKILL"  # without the log's last lines, which are about something else
    assert len(fleet.pids["p"]) == 2


async def test_the_last_log_lines_say_why_a_part_does_not_start_and_secrets_stay_masked(fleet: Fleet) -> None:
    code = "import sys; print('no database\\npassword=hunter2xyz', flush=True); sys.exit(2)"
    with pytest.raises(PartFailedError, match=r"exit code 2 \(usage\)") as failure:
        await fleet.supervisor.start(fleet.part("p", code, ready=lambda: "never"))
    assert "no database" in str(failure.value)
    assert "hunter2" not in str(failure.value)
    assert fleet.states("p") == [State.STARTING, State.FAILED]


async def test_a_part_that_cannot_be_launched_is_tried_again_with_growing_waits(fleet: Fleet) -> None:
    part = fleet.part("p", "raise SystemExit(1)", ready=lambda: "never")
    starting = asyncio.create_task(fleet.supervisor.start(part))
    await eventually(lambda: len(fleet.waits) >= 3, LONG)
    assert fleet.waits[:3] == [0.01, 0.02, 0.02]
    starting.cancel()
    await asyncio.wait([starting])


async def test_stages_stop_in_reverse_order(fleet: Fleet) -> None:
    for stage, name in enumerate(("broker", "worker")):
        await fleet.supervisor.start(fleet.part(name, OBEDIENT, stage=stage))
    assert await fleet.supervisor.stop(Deadline.after(LONG))
    stops = [change.name for change in fleet.changes if change.state is State.STOPPED]
    assert stops == ["worker", "broker"]


async def test_what_does_not_stop_by_the_deadline_is_killed(fleet: Fleet) -> None:
    log = fleet.directory / "p.log"
    part = fleet.part("p", STUBBORN, ready=lambda: None if log.read_text() else "not yet")
    await fleet.supervisor.start(part)
    assert not await fleet.supervisor.stop(Deadline.after(0.1))
    assert fleet.changes[-1] == Change(
        "p", State.STOPPED, fleet.changes[-1].seconds, "killed at the deadline"
    )


async def test_grandchildren_end_with_their_parent(fleet: Fleet) -> None:
    pid_file = fleet.directory / "grandchild"
    code = (
        f"import pathlib, subprocess, sys; p = subprocess.Popen([sys.executable, '-c', {STUBBORN!r}]);"
        f"pathlib.Path({str(pid_file)!r}).write_text(str(p.pid)); " + OBEDIENT
    )
    await fleet.supervisor.start(
        fleet.part("p", code, ready=lambda: None if pid_file.exists() and pid_file.read_text() else "not yet")
    )
    grandchild = int(pid_file.read_text())
    assert await fleet.supervisor.stop(Deadline.after(LONG))
    await eventually(lambda: _gone(grandchild), LONG)


async def test_a_failure_for_good_ends_the_wait(fleet: Fleet) -> None:
    part = fleet.part("p", OBEDIENT)
    await fleet.supervisor.start(Part(part.name, part.launch, part.probe, restart=None))
    waiting = asyncio.create_task(fleet.supervisor.failure())
    os.kill(fleet.pids["p"][0], signal.SIGKILL)
    assert "killed by SIGKILL" in str(await asyncio.wait_for(waiting, LONG))


SUPERVISED = """
import asyncio, os, pathlib, sys
from tests.integration.test_supervisor import OBEDIENT, STUBBORN, Fleet

async def main():
    fleet = Fleet(pathlib.Path(sys.argv[1]), {})
    async with fleet.supervisor:
        await fleet.supervisor.start(fleet.part("obedient", OBEDIENT))
        await fleet.supervisor.start(fleet.part("other", OBEDIENT))
        print(*(pid for pids in fleet.pids.values() for pid in pids), flush=True)
        await asyncio.Event().wait()

asyncio.run(main())
"""


async def test_nothing_is_left_when_the_supervisor_itself_is_killed(tmp_path: Path) -> None:
    supervisor = await asyncio.create_subprocess_exec(
        sys.executable, "-c", SUPERVISED, str(tmp_path), stdout=subprocess.PIPE
    )
    assert supervisor.stdout is not None
    pids = [int(pid) for pid in (await supervisor.stdout.readline()).split()]
    assert len(pids) == 2
    assert all(psutil.pid_exists(pid) for pid in pids)
    supervisor.kill()
    await supervisor.wait()
    await eventually(lambda: all(map(_gone, pids)), LONG)


def _gone(pid: int) -> bool:
    try:
        return psutil.Process(pid).status() == psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return True
