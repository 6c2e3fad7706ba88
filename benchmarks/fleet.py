"""A fleet to be measured: real processes with topics of their own, a stub backend, and Redis where it is on."""

import signal
import subprocess
import sys
import tempfile
import time
import urllib.request
import uuid
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from random import SystemRandom
from typing import Any

import orjson

from benchmarks.brokers import Broker
from workers.core.errors import UnreachableError
from workers.core.settings import Settings
from workers.local.children import Watchdog
from workers.local.free_ports import Ports
from workers.local.redis import redis_command, redis_server

_READY_WITHIN = 60.0  # seconds
_STOP_WITHIN = 40.0


@dataclass(frozen=True, slots=True)
class Shape:
    """What a fleet consists of, and how its backend behaves."""

    routers: int = 1
    workers: int = 1
    gateways: int = 0
    redis: bool = True
    named: bool = (
        False  # workers have names that stay over restarts, so that a killed one has its partitions back
    )
    partitions: int = 4
    concurrency: int = 64
    stub: Mapping[str, object] = field(default_factory=dict)  # options of `benchmarks.load.stub`
    target: Mapping[str, object] = field(default_factory=dict)  # what differs in the topology's target
    remember: float | None = (
        None  # seconds that outcomes and answers are kept; the topology's default where None
    )

    def as_dict(self) -> dict[str, Any]:
        """For the settings of a result."""
        return {name: getattr(self, name) for name in self.__dataclass_fields__}


@dataclass
class Part:
    """One process. `port` is where its `/readyz` or `/health` is, None where it has none."""

    name: str
    command: tuple[str, ...]
    log: Path
    ready: str | None
    running: "subprocess.Popen[bytes] | None" = None

    @property
    def pid(self) -> int:
        """Its pid; it must have been started."""
        assert self.running is not None  # noqa: S101 - started by the fleet
        return self.running.pid


class Fleet:
    """Starts, kills and stops the parts. Everything it starts ends with this process, however that ends."""

    def __init__(self, kafka: Broker, directory: Path, shape: Shape) -> None:
        self.kafka = kafka
        self.shape = shape
        self.name = f"bench-{uuid.uuid4().hex[:10]}"
        self.parts: dict[str, Part] = {}
        self._directory = directory
        self._ports = Ports()
        self._watchdog = Watchdog()
        self._environment = {**Settings.read().environment, "RELAYFLEET_HOME": str(directory / "home")}
        self.stub_port, self.redis_port, self.gateway_port, self.grpc_port = (self._port() for _ in range(4))
        self.topology = directory / "topology.yaml"
        self.topology.write_bytes(orjson.dumps(topology(self)))  # JSON is YAML

    @property
    def requests(self) -> str:
        """Where requests are produced."""
        return f"{self.name}.requests"

    @property
    def responses(self) -> str:
        """Where outcomes come."""
        return f"{self.name}.responses"

    @property
    def logs(self) -> str:
        """Where the events of the messages' steps go."""
        return f"{self.name}.logs"

    @property
    def groups(self) -> tuple[tuple[str, str], ...]:
        """The consumer groups, and the topic that each reads."""
        named = f"relayfleet.{self.requests}"
        return (f"{named}.router", self.requests), (f"{named}.worker.llm", f"{self.requests}.llm")

    @property
    def stub_url(self) -> str:
        """The backend."""
        return f"http://127.0.0.1:{self.stub_port}"

    @property
    def gateway_url(self) -> str:
        """The gateway, where there is one."""
        return f"http://127.0.0.1:{self.gateway_port}"

    def pids(self) -> dict[str, int]:
        """Of every process that runs, the broker included where it is ours."""
        running = {
            name: part.pid
            for name, part in self.parts.items()
            if part.running is not None and part.running.poll() is None
        }
        return {**running, **self.kafka.pids()}

    def start(self) -> None:
        """Start everything, and wait until all of it is in service."""
        self._start_stub()
        if self.shape.redis:
            command = redis_command(redis_server(), self._directory / "redis", self.redis_port)
            self._launch("redis", command, None)
        self._apply()
        for number in range(self.shape.routers):
            # A name of its own, so that a router that was killed comes back to its partitions without a rebalance.
            self._launch_process("router", number, "--member", f"bench-{number}")
        for number in range(self.shape.workers):
            self._launch_process("worker", number, *self._member(number))
        for number in range(self.shape.gateways):
            self._launch_process("gateway", number, *self._gateway_options(number))
        for part in self.parts.values():
            self.until_ready(part)

    def add(self, kind: str) -> None:
        """One more router, worker or gateway, in service when this returns."""
        number = sum(1 for name in self.parts if name.split(" ")[0] == kind)
        options = self._gateway_options(number) if kind == "gateway" else ()
        self.until_ready(self._launch_process(kind, number, *options))

    def kill(self, name: str) -> None:
        """SIGKILL, and wait until it is gone."""
        part = self.parts[name]
        assert part.running is not None  # noqa: S101 - started
        part.running.kill()
        part.running.wait()
        self._watchdog.remove(part.pid)

    def revive(self, name: str) -> None:
        """Start a part that was killed again; returns at once."""
        self._run(self.parts[name])

    def stop(self) -> None:
        """Stop everything, the processes first: they still need what they call."""
        for part in reversed(self.parts.values()):
            if part.running is not None and part.running.poll() is None:
                part.running.send_signal(signal.SIGTERM)
                with suppress(subprocess.TimeoutExpired):
                    part.running.wait(_STOP_WITHIN)
                part.running.kill()
                part.running.wait()
        self._watchdog.close()

    def until_ready(self, part: Part) -> None:
        """Wait until a part says that it is in service. Raises `UnreachableError` with its last lines."""
        until = time.monotonic() + _READY_WITHIN
        while part.ready is not None and not answers(part.ready):
            ended = part.running is None or part.running.poll() is not None
            if ended or time.monotonic() > until:
                last = part.log.read_text(errors="replace")[-2000:]
                raise UnreachableError(f"{part.name} did not get ready: {last}")
            time.sleep(0.05)

    def _start_stub(self) -> None:
        options = [text for name, value in self.shape.stub.items() for text in (f"--{name}", str(value))]
        command = (sys.executable, "-m", "benchmarks.load.stub", "--port", str(self.stub_port), *options)
        self._launch("stub", command, f"{self.stub_url}/health")

    def _launch_process(self, kind: str, number: int, *options: str) -> Part:
        port = str(self._port())
        where = ("--topology", str(self.topology), "--health-port", port)
        command = (sys.executable, "-m", "workers", kind, *where, *options)
        name = kind if number == 0 else f"{kind} {number + 1}"
        return self._launch(name, command, f"http://127.0.0.1:{port}/readyz")

    def _member(self, number: int) -> tuple[str, ...]:
        return ("--member", f"bench-{number}") if self.shape.named else ()

    def _gateway_options(self, number: int) -> tuple[str, ...]:
        """Its ports, and a name with which it has its partitions back at once after a kill."""
        ports = ("--port", str(self.gateway_port + number), "--grpc-port", str(self.grpc_port + number))
        return ("--member", f"bench-{number}", *ports)

    def _launch(self, name: str, command: Sequence[str], ready: str | None) -> Part:
        log = self._directory / f"{name.replace(' ', '-')}.log"
        part = self.parts[name] = Part(name, tuple(command), log, ready)
        self._run(part)
        return part

    def _run(self, part: Part) -> None:
        with part.log.open("ab") as output:
            part.running = subprocess.Popen(
                part.command, stdout=output, stderr=output, env=self._environment, start_new_session=True
            )
        self._watchdog.add(part.running.pid)

    def _apply(self) -> None:
        command = (sys.executable, "-m", "workers", "topology", "apply", "--yes")
        done = subprocess.run(
            [*command, "--topology", str(self.topology)],
            capture_output=True,
            text=True,
            check=False,
            env=self._environment,
        )
        if done.returncode:
            raise UnreachableError(f"the topics were not created: {done.stdout}{done.stderr}")

    def _port(self) -> int:
        # Below the range that systems give to outgoing connections: a part that was killed finds its port again.
        return self._ports.take(SystemRandom().choice(range(11_000, 19_000, 10)))


def topology(fleet: Fleet) -> dict[str, Any]:
    """The deployment's topology: every guarantee on, waits short enough to be held in memory."""
    name, shape = fleet.name, fleet.shape
    instance = {"url": f"{fleet.stub_url}/v1", "concurrency": shape.concurrency}
    target = {"type": "openai", "model": "stub", "timeout": "30s", "instances": [instance]}
    retry = {"attempts": 8, "initial": "100ms", "max": "2s", "hold_up_to": "2s"}
    breaker = {"open_for": "1s", "window": "5s"}
    return {
        "version": 1,
        "kafka": {"bootstrap": fleet.kafka.bootstrap},
        "stores": {"redis": f"redis://127.0.0.1:{fleet.redis_port}/0" if shape.redis else ""},
        "topics": {
            "defaults": {"partitions": shape.partitions},
            "model_requests": {"name": fleet.requests},
            "model_responses": {"name": fleet.responses},
            "model_chunks": {"name": f"{name}.chunks"},
            "dlq.model_requests": {"name": f"dlq.{name}"},
            "dead_letter_ledger": {"name": f"{name}.ledger"},
            "fleet_logs": {"name": fleet.logs},
        },
        "routes": [
            {"name": "screens", "when": {"keywords": ["蓝屏", "blue screen"]}, "to": "llm"},
            {"name": "default", "to": "llm"},
        ],
        "targets": {"llm": {**target, "retry": retry, "breaker": breaker, **shape.target}},
        **kept_for(shape.remember),
    }


def kept_for(seconds: float | None) -> dict[str, Any]:
    """What a topology says so that outcomes and answers are kept for so many seconds."""
    if seconds is None:
        return {}
    return {"once": {"window": seconds}, "gateway": {"answers": {"keep": seconds}}}


@contextmanager
def fleet(kafka: Broker, shape: Shape) -> Iterator[Fleet]:
    """A fleet, in service."""
    with tempfile.TemporaryDirectory(prefix="relayfleet-bench-") as directory:
        made = Fleet(kafka, Path(directory), shape)
        try:
            made.start()
            yield made
        finally:
            made.stop()


def answers(url: str) -> bytes | None:
    """What a server answers; None where it refuses or nobody listens."""
    try:
        with urllib.request.urlopen(url, timeout=2) as answer:  # noqa: S310 - our own address
            body: bytes = answer.read()
            return body
    except OSError:
        return None
