"""`relayfleet up` as a whole, with the stub instead of the model, on the session's broker."""

import asyncio
import json
import os
import re
import shlex
import shutil
import signal
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import psutil
import pytest

from tests.support import eventually, unique
from workers.core.settings import Settings

ROOT = Path(__file__).parents[2]
COMMANDS = ("router", "worker", "gateway")
START = 90.0  # seconds; for the slowest machine


class Up:
    """A running `relayfleet up` with topics, data and examples of its own."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self.process = process
        self.lines: list[str] = []
        self._reading = asyncio.create_task(self._read())

    async def _read(self) -> None:
        assert self.process.stdout is not None
        async for line in self.process.stdout:
            self.lines.append(line.decode().rstrip())

    def count(self, pattern: str) -> int:
        """How many lines match."""
        return sum(re.search(pattern, line) is not None for line in self.lines)

    async def says(self, pattern: str, times: int = 1) -> None:
        """Wait until so many lines match."""

        def said() -> bool:
            assert self.count(pattern) >= times, "\n".join(self.lines)
            return True

        await eventually(said, timeout=START)

    async def exit_code(self) -> int:
        """Wait for its end."""
        code = await asyncio.wait_for(self.process.wait(), START)
        await self._reading
        return code


class Starter:
    """Starts fleets in one directory."""

    def __init__(self, directory: Path, kafka: str) -> None:
        self._directory = directory
        self._kafka = kafka
        self.started: list[Up] = []

    async def __call__(self, *options: str) -> Up:
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "workers", "up", "--no-model", "--kafka", self._kafka, *options,
            cwd=self._directory,
            env={**Settings.read().environment, "RELAYFLEET_HOME": str(self._directory / "home")},
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
        )  # fmt: skip
        self.started.append(Up(process))
        return self.started[-1]


@pytest.fixture
async def up(tmp_path: Path, kafka: str) -> AsyncIterator[Starter]:
    prefix = unique("up")
    text = (ROOT / "topology.yaml").read_text(encoding="utf-8")
    names = ("model_requests", "model_responses", "model_chunks", "dlq.model_requests", "fleet_logs")
    own = "".join(f'  {name}: {{name: "{prefix}.{name}", partitions: 2}}\n' for name in names)
    text, replaced = re.subn(r"(?m)^  model_requests: .*\n", own, text)
    assert replaced == 1
    (tmp_path / "topology.yaml").write_text(text, encoding="utf-8")
    shutil.copytree(ROOT / "examples", tmp_path / "examples", ignore=shutil.ignore_patterns("*.db"))
    starter = Starter(tmp_path, kafka)
    yield starter
    for fleet in starter.started:
        if fleet.process.returncode is None:
            fleet.process.send_signal(signal.SIGTERM)
            await fleet.exit_code()


def children(pid: int) -> dict[str, psutil.Process]:
    """The fleet's processes by a word of their command line."""
    found = psutil.Process(pid).children(recursive=True)
    words = (*COMMANDS, "redis-server", "stub_model", "watchdog")
    return {word: child for word in words for child in found if _is_about(child, word)}


def _is_about(process: psutil.Process, word: str) -> bool:
    """Whether it is the command of this name (every command line has `workers` in it), or names the program."""
    parts = process.cmdline()[:6]
    return word in parts if word in COMMANDS else any(word in part for part in parts)


async def test_every_example_gets_its_outcome_and_nothing_is_left_running(
    up: Starter, tmp_path: Path
) -> None:
    fleet = await up("--exit-after-demo")
    await fleet.says("The fleet is up")
    parts = children(fleet.process.pid)
    assert set(parts) == {*COMMANDS, "redis-server", "stub_model", "watchdog"}
    assert await fleet.exit_code() == 0, "\n".join(fleet.lines)
    assert fleet.count("^(answered|error|dead-letter) id=") == 24
    assert fleet.count('^dead-letter id=line11.* text="schema: ') == 1
    assert (
        fleet.count('^answered .*target=orders .*text="Order 2026110301: shipped, expected 2026-11-26"') == 1
    )
    assert fleet.count("id=req_12354.*target=orders.*There is no order 2026119999") == 1
    assert fleet.count("^answered .*target=llm ") >= 15
    assert not any(process.is_running() for process in parts.values())


async def test_the_curl_line_that_is_shown_asks_the_fleet(up: Starter) -> None:
    fleet = await up("--no-demo")
    await fleet.says("^Ask in a browser: http://127")
    await fleet.says(r"^OpenAI programs: base URL http://127\.0\.0\.1:\d+/v1\. gRPC: 127\.0\.0\.1:\d+\.$")
    await fleet.says("^Metrics: http://127.*/metrics, http://127.*/metrics, http://127.*/metrics$")
    (line,) = [
        line.strip() for line in fleet.lines if line.strip().startswith("curl ") and "/api/forward" in line
    ]
    asking = await asyncio.create_subprocess_exec(*shlex.split(line), "-s", stdout=asyncio.subprocess.PIPE)
    answer, _ = await asyncio.wait_for(asking.communicate(), 30)
    assert json.loads(answer)["status"] == "ok", answer


async def test_a_process_that_dies_comes_back_and_ctrl_c_stops_everything(up: Starter) -> None:
    fleet = await up("--no-demo")
    await fleet.says("The fleet is up")
    second = await up("--no-demo")
    assert await second.exit_code() == 2
    assert second.count("already up") == 1
    children(fleet.process.pid)["worker"].kill()
    await fleet.says("part=worker state=waiting .*killed by SIGKILL")
    await fleet.says("part=worker state=ready", times=2)
    parts = children(fleet.process.pid)
    os.kill(fleet.process.pid, signal.SIGINT)
    assert await fleet.exit_code() == 0
    assert fleet.count("All stopped. Until next time.") == 1
    assert not any(process.is_running() for process in parts.values())
