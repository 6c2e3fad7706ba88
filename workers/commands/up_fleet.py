"""The parts of `relayfleet up`: which there are, how they are launched, in which order they start."""

import asyncio
import hashlib
import socket
import sys
from collections.abc import Awaitable, Callable, Coroutine
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from workers.assembly import EMBEDDED
from workers.commands.up_view import View
from workers.core.settings import Settings
from workers.core.topology.load import load_topology
from workers.core.topology.model import OpenAITarget, Topology
from workers.local.broker import EmbeddedBroker
from workers.local.children import Child
from workers.local.free_ports import Ports
from workers.local.kafka_part import RunningBroker
from workers.local.model import model_file
from workers.local.orders import build_orders
from workers.local.probes import Probe, http_ready, redis_ready
from workers.local.redis import redis_command, redis_server
from workers.local.supervisor import Part, Running, Supervisor

STORES, MODELS, PROCESSES = range(3)
"""Stages: what answers nobody any more is stopped last."""

_NAME_LENGTH = 12
_STUB_DELAY_MS = 200
_DOWNLOAD_WITHIN = 1800.0  # seconds; the first start downloads Kafka
_WANTED = {"model": 8091, "redis": 6390, "router": 9101, "worker": 9102, "gateway health": 9103}


@dataclass(frozen=True, slots=True)
class Choices:
    """What the user asked for. `kafka` None: the embedded one, unless the topology names another."""

    topology: Path
    kafka: str | None = None
    stub: bool = False


@dataclass(slots=True)
class Plan:
    """What there will be: ports, addresses, the children's environment, the topology as they will see it."""

    choices: Choices
    settings: Settings
    ports: dict[str, int] = field(default_factory=dict)
    moved: list[str] = field(default_factory=list)  # in words: what found its usual port taken
    environment: dict[str, str] = field(default_factory=dict)
    topology: Topology | None = None

    @property
    def examples(self) -> Path:
        """The directory beside the topology."""
        return self.choices.topology.parent / "examples"

    @property
    def loaded(self) -> Topology:
        """The topology."""
        assert self.topology is not None  # noqa: S101 - made by `plan`
        return self.topology


def plan(choices: Choices, settings: Settings) -> Plan:
    """Choose ports and addresses, and read the topology with them. Raises `UsageError`."""
    made = Plan(choices, settings)
    ports = Ports()
    for name, wanted in _WANTED.items():
        _take(made, ports, name, wanted)
    made.environment = {**settings.environment, **_addresses(made, settings)}
    made.topology = load_topology(choices.topology, made.environment)
    _take(made, ports, "gateway", made.topology.gateway.port)
    _take(made, ports, "gateway gRPC", made.topology.gateway.grpc_port)
    if needs_model(made) and not choices.stub:
        model_file()  # so that a missing wheel is told before anything starts
    return made


def _take(made: Plan, ports: Ports, name: str, wanted: int) -> None:
    made.ports[name] = ports.take(wanted)
    if made.ports[name] != wanted:
        made.moved.append(f"{name}: port {wanted} is taken, using {made.ports[name]}")


def _addresses(made: Plan, settings: Settings) -> dict[str, str]:
    """What topology.yaml and the processes learn through the environment."""
    addresses = {"RELAYFLEET_HOME": str(settings.home)}
    if not settings.environment.get("RELAYFLEET_REDIS_URL"):
        addresses["RELAYFLEET_REDIS_URL"] = f"redis://127.0.0.1:{made.ports['redis']}/0"
    if settings.openai_base_url and not made.choices.stub:
        addresses["RELAYFLEET_LLM_URL"] = settings.openai_base_url
        addresses["RELAYFLEET_LLM_API_KEY"] = settings.openai_api_key or ""
    elif made.choices.stub or not settings.environment.get("RELAYFLEET_LLM_URL"):
        addresses["RELAYFLEET_LLM_URL"] = f"http://127.0.0.1:{made.ports['model']}/v1"
    return addresses


def needs_model(made: Plan) -> bool:
    """Whether some target calls the address where our model would listen."""
    ours = f"http://127.0.0.1:{made.ports['model']}/"
    targets = made.loaded.targets.values()
    return any(
        instance.url.startswith(ours)
        for target in targets
        if isinstance(target, OpenAITarget)
        for instance in target.instances
    )


def member_name(made: Plan) -> str:
    """What its processes are called in their consumer groups.

    No other fleet on the same Kafka is called so: two members of one name would throw each other out. The next run of
    this one is, so that neither it nor a process that was killed waits until the session of the one before has ended.
    """
    fleet = (socket.gethostname(), str(made.settings.home.resolve()), str(made.ports["router"]))
    return f"up-{hashlib.sha256(repr(fleet).encode()).hexdigest()[:_NAME_LENGTH]}"


class Fleet:
    """Starts the parts side by side: what does not need another does not wait for it."""

    def __init__(
        self,
        made: Plan,
        supervisor: Supervisor,
        view: View,
        apply: Callable[[str], Awaitable[None]],
    ) -> None:
        self._plan = made
        self._supervisor = supervisor
        self._view = view
        self._apply = apply
        self.bootstrap = ""
        logs = made.settings.home / "logs"
        logs.mkdir(parents=True, exist_ok=True)
        self._logs = logs

    async def start(self) -> None:
        """Start everything and wait until all of it is ready. Raises what the first failing part raises."""
        await together(self._kafka_and_processes(), self._redis(), self._model(), self._orders())

    @property
    def metrics(self) -> list[str]:
        """The metrics' addresses."""
        return [
            f"http://127.0.0.1:{self._plan.ports[name]}/metrics"
            for name in ("router", "worker", "gateway health")
        ]

    def where(self, name: str) -> str:
        """Where a part listens."""
        if name == "kafka":
            return self.bootstrap
        port = self._plan.ports.get(name.removeprefix("stub "))
        return f"127.0.0.1:{port}" if port else ""

    async def _kafka_and_processes(self) -> None:
        self.bootstrap = await self._kafka()
        await self._apply(self.bootstrap)
        http, grpc = (str(self._plan.ports[name]) for name in ("gateway", "gateway gRPC"))
        listening = ("--host", "127.0.0.1", "--port", http, "--grpc-port", grpc)
        await together(
            self._process("router"),
            self._process("worker"),
            self._process("gateway", *listening),
        )

    async def _kafka(self) -> str:
        """Where Kafka is: the user's, one that runs already, or one that we start and therefore stop."""
        named = self._plan.choices.kafka or self._plan.loaded.kafka.bootstrap
        if named != EMBEDDED:
            return named
        broker = EmbeddedBroker(self._plan.settings.home)
        running = (await asyncio.to_thread(broker.status)).bootstrap
        if running is not None:
            self._view.say(f"Kafka already runs at {running}; it will go on running after this.")
            return running

        async def probe() -> str | None:
            return None  # launched means serving

        async def launch() -> Running:
            launched = await RunningBroker.launch(broker)
            self.bootstrap = broker.bootstrap
            return launched

        await self._supervisor.start(Part("kafka", launch, probe, STORES, ready_within=_DOWNLOAD_WITHIN))
        return self.bootstrap

    async def _process(self, name: str, *options: str) -> None:
        port = self._plan.ports.get(f"{name} health", self._plan.ports[name])
        where = ("--topology", str(self._plan.choices.topology), "--kafka", self.bootstrap)
        own = ("--health-port", str(port), "--member", member_name(self._plan))
        command = (sys.executable, "-m", "workers", name, *where, *own, *options)
        await self._start(name, command, http_ready(port, "/readyz"), PROCESSES)

    async def _redis(self) -> None:
        port = self._plan.ports["redis"]
        if not self._plan.environment["RELAYFLEET_REDIS_URL"].startswith(f"redis://127.0.0.1:{port}/"):
            return  # the user's own
        directory = self._plan.settings.home / "redis"
        await self._start("redis", redis_command(redis_server(), directory, port), redis_ready(port), STORES)

    async def _model(self) -> None:
        if not needs_model(self._plan):
            return
        port = str(self._plan.ports["model"])
        module, options = (
            ("stub_model", ("--delay-ms", str(_STUB_DELAY_MS))) if self._plan.choices.stub else ("model", ())
        )
        command = (sys.executable, "-m", f"workers.local.{module}", "--port", port, *options)
        await self._start(module.replace("_", " "), command, http_ready(int(port), "/health"), MODELS)

    async def _orders(self) -> None:
        script = self._plan.examples / "orders.sql"
        if script.exists():
            await asyncio.to_thread(build_orders, script, script.with_suffix(".db"))

    async def _start(self, name: str, command: tuple[str, ...], probe: Probe, stage: int) -> None:
        log = self._logs / f"{name.replace(' ', '-')}.log"
        if log.exists():
            log.replace(log.with_suffix(".log.1"))

        async def launch() -> Running:
            return await Child.spawn(
                command, log=log, environment=self._plan.environment, directory=Path.cwd()
            )

        await self._supervisor.start(Part(name, launch, probe, stage))


async def together(*steps: Coroutine[Any, Any, None]) -> None:
    """Run the steps side by side; the first failure cancels the others and is raised."""
    tasks = [asyncio.create_task(step) for step in steps]
    try:
        done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_EXCEPTION)
        for task in done:
            task.result()
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
