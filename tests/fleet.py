"""A whole fleet as real processes on a real broker, with a stub model that counts what is paid for."""

import asyncio
import signal
import sys
import time
import urllib.request
from collections.abc import AsyncIterator, Iterable, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import orjson
import yaml
from confluent_kafka import Producer
from typer.testing import CliRunner

from tests.history import History, Watcher
from tests.processes import Process, free_port, get
from tests.support import eventually, unique
from workers.commands.topology import app as topology_commands
from workers.core.clock import SystemClock
from workers.core.exit_codes import ExitCode
from workers.core.settings import Settings
from workers.local.redis import redis_command, redis_server

TARGET: dict[str, Any] = {
    "type": "openai",
    "timeout": "5s",
    "retry": {"attempts": 6, "initial": "100ms", "max": "2s", "hold_up_to": "2s"},
}
_PATIENCE = 30.0  # seconds; for what is asked once


@dataclass
class Fleet:
    """Processes of one deployment with topics and groups of its own."""

    bootstrap: str
    directory: Path
    topology: Path
    names: Mapping[str, str]
    stub_port: int
    environment: Mapping[str, str]
    reached_by: str  # the bootstrap of the fleet's own processes
    processes: list[Process] = field(default_factory=list)
    sent: list[str] = field(default_factory=list)

    def of(self, kind: str) -> list[Process]:
        """All processes of a kind: router, worker, stub, redis."""
        return [process for process in self.processes if process.name.startswith(kind)]

    def processes_in_service(self) -> list[Process]:
        """Routers and workers."""
        return [*self.of("router"), *self.of("worker")]

    async def apply(self) -> None:
        """Bring the topics to what the topology's file says by now."""
        await asyncio.to_thread(_apply, self.topology, self.bootstrap, self.environment)

    async def add(self, kind: str, *arguments: str) -> Process:
        """Start a router or worker and wait until it is ready."""
        port = free_port()
        options = (
            "--topology",
            str(self.topology),
            "--kafka",
            self.reached_by,
            "--health-port",
            str(port),
        )
        process = self.run(kind, (sys.executable, "-m", "workers", kind, *options, *arguments), port)
        await self.ready(process)
        return process

    def run(self, kind: str, command: Sequence[str], health_port: int | None = None) -> Process:
        """Start a process and return at once."""
        name = f"{kind}-{len(self.of(kind))}"
        log = self.directory / f"{name}.log"
        process = Process(name, tuple(command), log, self.environment, health_port)
        self.processes.append(process)
        process.start()
        return process

    async def ready(self, process: Process) -> None:
        """Wait until a process is in service."""
        try:
            await eventually(process.is_alive_and_ready, 60.0, interval=0.1)
        except (AssertionError, RuntimeError) as error:
            raise AssertionError(f"{process.name} did not get ready:\n{process.last_lines()}") from error

    def send(self, count: int, *, keys: int = 50, prefix: str = "m") -> list[str]:
        """Produce `count` envelopes with a plain client; returns when the broker has them all."""
        producer = Producer({"bootstrap.servers": self.bootstrap, "enable.idempotence": True, "linger.ms": 5})
        ids = [f"{prefix}-{len(self.sent) + number:06d}" for number in range(count)]
        for number, message_id in enumerate(ids):
            self._produce(producer, message_id, f"k{number % keys}".encode())
        assert producer.flush(60) == 0
        self.sent += ids
        return ids

    async def send_steadily(self, count: int, rate: float, *, keys: int = 50) -> None:
        """Produce `count` envelopes at `rate` a second."""
        producer = Producer({"bootstrap.servers": self.bootstrap, "enable.idempotence": True, "linger.ms": 5})
        start = time.monotonic()
        for number in range(count):
            message_id = f"s-{len(self.sent):06d}"
            self._produce(producer, message_id, f"k{number % keys}".encode())
            self.sent.append(message_id)
            if (ahead := start + number / rate - time.monotonic()) > 0.01:
                await asyncio.sleep(ahead)
        assert await asyncio.to_thread(producer.flush, 120) == 0

    def _produce(self, producer: Producer, message_id: str, key: bytes) -> None:
        envelope = {
            "message_id": message_id,
            "source": "chaos",
            "payload": {"text": "推荐一款笔记本电脑"},
            "timestamp": SystemClock().wall(),
        }
        producer.produce(self.names["requests"], orjson.dumps(envelope), key)
        producer.poll(0)

    async def history(self, patience: float = 60.0, *, letters: bool = False) -> History:
        """Wait until every id that was sent has an outcome (or patience ends), then read everything back.

        `letters`: every failure leaves a dead letter, which may be read after its response and is waited for too.
        """
        watcher = Watcher(self.bootstrap, self.names["responses"], self.names["dead_letters"])
        try:
            with suppress(AssertionError):  # the history says what is lost
                await eventually(lambda: watcher.has_all(self.sent), patience)
                await eventually(lambda: not letters or watcher.has_all_letters(), patience)
            for _ in range(10):
                watcher.look(0.1)
            return History(
                self.sent,
                watcher.outcomes,
                watcher.dead_letter_ids,
                list(watcher.outcomes),
                self.calls()["paid_twice"],
            )
        finally:
            watcher.close()

    def calls(self) -> dict[str, Any]:
        """What the stub model counted."""
        report = get(f"http://127.0.0.1:{self.stub_port}/stub/calls", _PATIENCE)
        assert report is not None
        calls: dict[str, Any] = orjson.loads(report)
        return calls

    def misbehave(self, **faults: object) -> None:
        """Change how the stub model fails."""
        request = urllib.request.Request(
            f"http://127.0.0.1:{self.stub_port}/stub/faults", data=orjson.dumps(faults), method="POST"
        )
        with urllib.request.urlopen(request, timeout=_PATIENCE):
            pass

    def stop(self) -> None:
        """Kill what is left; a test ends its fleet whatever happened."""
        for process in self.processes:
            process.signal(signal.SIGCONT)
            process.signal(signal.SIGKILL)
            if process.popen is not None:
                process.popen.wait()


@asynccontextmanager
async def running_fleet(
    bootstrap: str,
    directory: Path,
    *,
    reached_by: str | None = None,
    with_redis: bool = False,
    target: Mapping[str, Any] | None = None,
    targets: Mapping[str, Mapping[str, Any]] | None = None,
    beside: Mapping[str, Mapping[str, Any]] | None = None,
    more: Mapping[str, Any] | None = None,
    stub: Iterable[str] = (),
) -> AsyncIterator[Fleet]:
    """A deployment of its own with a stub model and topics, and no router or worker yet (see `Fleet.add`).

    Its processes reach the broker at `reached_by`, where that is another address; tests look at it at `bootstrap`.
    `target` is how the target `llm` differs from `TARGET`, `beside` how more targets of the same stub model do.
    """
    names = _topic_names()
    stub_port, redis_port = free_port(), free_port()
    instances = [{"url": f"http://127.0.0.1:{stub_port}/v1", "concurrency": 64}]
    of_the_stub = {
        name: {**TARGET, "instances": instances, **changes}
        for name, changes in {"llm": target or {}, **(beside or {})}.items()
    }
    topology = {
        "version": 1,
        "topics": _topics(names),
        "stores": {"redis": f"redis://127.0.0.1:{redis_port}/0" if with_redis else ""},
        "routes": [{"name": "default", "to": "llm"}],
        "targets": {**of_the_stub, **(targets or {})},
        **(more or {}),
    }
    path = directory / "topology.yaml"
    path.write_text(yaml.safe_dump(topology, allow_unicode=True))
    environment = {**Settings.read().environment, "RELAYFLEET_HOME": str(directory / "home")}
    fleet = Fleet(bootstrap, directory, path, names, stub_port, environment, reached_by or bootstrap)
    try:
        fleet.run("stub", (sys.executable, "-m", "workers.local.stub_model", "--port", str(stub_port), *stub))
        if with_redis:
            fleet.run("redis", redis_command(redis_server(), directory, redis_port))
        await asyncio.to_thread(_apply, path, bootstrap, environment)
        await eventually(lambda: get(f"http://127.0.0.1:{stub_port}/health") is not None, 60.0)
        yield fleet
    finally:
        fleet.stop()


def _topic_names() -> dict[str, str]:
    """Topics that no other deployment has."""
    deployment = unique("chaos")
    return {
        "requests": f"{deployment}.requests",
        "responses": f"{deployment}.responses",
        "dead_letters": f"dlq.{deployment}.requests",
        "chunks": f"{deployment}.chunks",
        "ledger": f"{deployment}.ledger",
        "logs": f"{deployment}.logs",
    }


def _topics(names: Mapping[str, str]) -> dict[str, Any]:
    return {
        "defaults": {"partitions": 4},
        "model_requests": {"name": names["requests"]},
        "model_responses": {"name": names["responses"]},
        "model_chunks": {"name": names["chunks"]},
        "dlq.model_requests": {"name": names["dead_letters"]},
        "dead_letter_ledger": {"name": names["ledger"]},
        "fleet_logs": {"name": names["logs"]},
    }


def _apply(topology: Path, bootstrap: str, environment: Mapping[str, str]) -> None:
    """In this process: a command of its own would first load for seconds, once for every fleet."""
    arguments = ("apply", "--topology", str(topology), "--kafka", bootstrap, "--yes")
    result = CliRunner().invoke(topology_commands, arguments, env=environment)
    assert result.exit_code == ExitCode.DONE, result.output
