"""`relayfleet worker`: calls the backends of some targets, or of all, until it is told to stop."""

import asyncio
import signal
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import typer

from workers import assembly
from workers.commands.processes import PASSED_ON, Processes
from workers.commands.serving import open_live, serve
from workers.core.clock import SystemClock
from workers.core.errors import RelayError
from workers.core.exit_codes import ExitCode
from workers.core.logging import configure_logging
from workers.core.metrics import Metrics
from workers.core.settings import Settings
from workers.inference.service import WorkerService
from workers.local.children import Watchdog
from workers.shell import HealthPortOption, KafkaOption, TopologyOption, fail

TargetOption = Annotated[
    list[str] | None, typer.Option("--target", help="Work for this target alone; may be given again.")
]
MemberOption = Annotated[
    str | None,
    typer.Option(
        "--member",
        help="A name that no other worker of the group has and that stays over restarts: "
        "a restarted worker then has its partitions back at once.",
    ),
]
ProcessesOption = Annotated[
    int,
    typer.Option("--processes", min=1, max=256, help="How many processes to run, each a worker of its own."),
]


@dataclass(frozen=True, slots=True)
class Options:
    """What the command line says, for this process or for its children."""

    targets: Sequence[str]
    topology: Path | None
    kafka: str | None
    member: str | None
    health_port: int

    def arguments(self, number: int) -> list[str]:
        """The command line of child `number`; each has a health port of its own."""
        port = self.health_port + number if self.health_port else 0
        arguments = ["worker", "--health-port", str(port)]
        for target in self.targets:
            arguments += ["--target", target]
        if self.topology is not None:
            arguments += ["--topology", str(self.topology)]
        if self.kafka is not None:
            arguments += ["--kafka", self.kafka]
        if self.member is not None:
            arguments += ["--member", f"{self.member}-{number}"]
        return arguments


def worker(
    target: TargetOption = None,
    processes: ProcessesOption = 1,
    topology: TopologyOption = None,
    kafka: KafkaOption = None,
    member: MemberOption = None,
    health_port: HealthPortOption = 0,
) -> None:
    """Answer messages, until SIGTERM or Ctrl-C drains the worker; a second one aborts.

    Follows the topology's file: what changed is in use within seconds, or at once after SIGHUP.

    Exits 0 after a drain, 2 for a topology or topics that are wrong, 4 where Kafka can't be reached, 70 where a record
    could not be delivered, 130 where the drain was cut short. With --processes N, process n (from 0) serves its health
    on --health-port + n, and one that dies is started again. SIGUSR1 opens a safety valve that has stopped a target.
    Exits 71 where nothing moved although messages waited.
    """
    configure_logging("worker")
    options = Options(target or (), topology, kafka, member, health_port)
    try:
        code = _work(options) if processes == 1 else asyncio.run(_supervise(options, processes))
    except RelayError as error:
        fail(error)
    raise typer.Exit(code)


def _work(options: Options) -> ExitCode:
    """Be the worker."""

    live = open_live(options.topology, Settings.read(), options.kafka)

    @asynccontextmanager
    async def open_worker(settings: Settings, metrics: Metrics) -> AsyncIterator[WorkerService]:
        async with assembly.open_worker(
            live.current.topology,
            settings,
            metrics,
            targets=options.targets,
            member=options.member,
            live=live,
        ) as service:
            asyncio.get_running_loop().add_signal_handler(signal.SIGUSR1, service.resume)
            yield service

    return serve(open_worker, options.health_port, live)


async def _supervise(options: Options, count: int) -> int:
    """Keep `count` workers running."""
    watchdog = Watchdog()
    try:
        commands = [options.arguments(number) for number in range(count)]
        processes = Processes(commands, watchdog, SystemClock())
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, processes.stop, signal.SIGTERM)
        for number in PASSED_ON:
            loop.add_signal_handler(number, processes.pass_on, number)
        return await processes.run()
    finally:
        watchdog.close()
