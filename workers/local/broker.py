"""A real Apache Kafka on this machine, without Docker and without an installed Java."""

import os
from collections.abc import Mapping
from dataclasses import dataclass, replace
from enum import StrEnum
from pathlib import Path
from random import SystemRandom

import psutil

from workers.core.deadlines import Deadline
from workers.core.errors import UnreachableError
from workers.core.settings import Settings
from workers.local import broker_process
from workers.local.broker_config import BrokerConfig, BrokerFiles, ExtraListener
from workers.local.broker_launch import Launcher, PortTakenError
from workers.local.broker_state import BrokerState, load_state, locked, save_state
from workers.local.download import DownloadReport
from workers.local.free_ports import Ports
from workers.local.java import find_java
from workers.local.kafka_jars import Jar, JarCache, Report, kafka_version, maven_cache, read_pins

START_WITHIN = 90.0  # seconds, the download not counted
STOP_WITHIN = 30.0
_DOWNLOAD_WITHIN = 900.0  # how long a second `start` waits for the first
# Below the range that systems give to outgoing connections, so that a stopped broker's port stays free.
_PORTS = range(20_000, 30_000, 10)


class BrokerCondition(StrEnum):
    """Whether clients can use the broker."""

    RUNNING = "running"  # it accepts connections
    STOPPED = "stopped"  # it does not, or not yet


@dataclass(frozen=True, slots=True)
class BrokerStatus:
    """What `broker status` prints. `bootstrap` and `pid` are None while it is stopped."""

    state: BrokerCondition
    bootstrap: str | None
    pid: int | None
    version: str
    cluster_id: str | None
    data: str
    log: str


class EmbeddedBroker:
    """The broker of one home directory: everything lies under `home`/kafka. Its methods block.

    It runs detached, and is found again by any later `EmbeddedBroker` of the same home.
    """

    def __init__(
        self,
        home: Path,
        *,
        environment: Mapping[str, str] | None = None,
        listeners: tuple[ExtraListener, ...] = (),
        performance: bool = False,
    ) -> None:
        self._files = BrokerFiles(home.absolute() / "kafka")
        self._environment = Settings.read().environment if environment is None else environment
        self._listeners = listeners
        self._performance = performance
        self._pins = read_pins()

    @property
    def bootstrap(self) -> str:
        """Address for clients. Raises `UnreachableError` while the broker is stopped."""
        bootstrap = self.status().bootstrap
        if bootstrap is None:
            raise UnreachableError("the embedded broker is not running: `relayfleet broker start` starts it")
        return bootstrap

    def status(self) -> BrokerStatus:
        """How it stands now."""
        saved, process = self._found()
        up = saved if saved and process and broker_process.accepts(saved.port) else None
        return BrokerStatus(
            state=BrokerCondition.RUNNING if up else BrokerCondition.STOPPED,
            bootstrap=self._config(up).bootstrap if up else None,
            pid=up.pid if up else None,
            version=kafka_version(self._pins),
            cluster_id=self._files.cluster_id(),
            data=str(self._files.data),
            log=str(self._files.server_log),
        )

    def start(self, timeout: float = START_WITHIN) -> BrokerStatus:
        """Start it and wait until it serves, at most `timeout` seconds; one that runs already is left as it is.

        The first start downloads Kafka. Raises `UnreachableError`, with the last lines of its log, when it fails.
        """
        with locked(self._files.lock, Deadline.after(_DOWNLOAD_WITHIN)):
            if self._found()[1] is None:
                self._launch(self._launcher(), Deadline.after(timeout))
            return self.status()

    def stop(self, timeout: float = STOP_WITHIN) -> BrokerStatus:
        """Stop it gracefully, by force after `timeout` seconds. Data stays; stopping twice is fine."""
        deadline = Deadline.after(timeout)
        with locked(self._files.lock, deadline):
            saved, process = self._found()
            if process is not None:
                broker_process.terminate(process, deadline)
            if saved is not None:
                save_state(self._files.state, replace(saved, pid=None))
            return self.status()

    def kill(self) -> None:
        """End it at once with SIGKILL, as a crash would."""
        process = self._found()[1]
        if process is not None:
            broker_process.kill(process)

    def _found(self) -> tuple[BrokerState | None, psutil.Process | None]:
        saved = load_state(self._files.state)
        return saved, broker_process.find(saved.pid, self._files.properties) if saved else None

    def _launcher(self) -> Launcher:
        report = DownloadReport(f"Kafka {kafka_version(self._pins)}")
        repository = maven_cache(self._environment)
        jars = JarCache(self._pins, repository, self._files.verified_jars, self._fetch, report)
        java = find_java(self._environment)
        return Launcher(self._files, java.executable, jars.classpath(), self._environment)

    def _fetch(self, jar: Jar, directory: Path, report: Report) -> Path:
        # Imported when a jar is missing, not by every process that asks where the broker is: it takes a while.
        from workers.local.maven import MavenFetch

        return MavenFetch(self._environment.get("RELAYFLEET_MAVEN_URL"))(jar, directory, report)

    def _launch(self, launcher: Launcher, deadline: Deadline) -> None:
        try:
            self._launch_once(launcher, deadline)
        except PortTakenError:
            self._launch_once(launcher, deadline)

    def _launch_once(self, launcher: Launcher, deadline: Deadline) -> None:
        state = self._choose_ports()
        state = replace(state, pid=launcher.launch(self._config(state)))
        save_state(self._files.state, state)
        try:
            launcher.await_started(state.pid or 0, deadline)
        except BaseException:
            self.kill()
            raise

    def _choose_ports(self) -> BrokerState:
        ports = Ports()
        for listener in self._listeners:
            if ports.take(listener.port) != listener.port:
                raise UnreachableError(f"port {listener.port} of listener {listener.name} is taken")
        saved = load_state(self._files.state)
        wanted = saved.port if saved else SystemRandom().choice(_PORTS)
        port = ports.take(wanted)
        return BrokerState(port, ports.take(saved.controller_port if saved else port + 1))

    def _config(self, state: BrokerState) -> BrokerConfig:
        return BrokerConfig(
            self._files,
            state.port,
            state.controller_port,
            self._listeners,
            self._performance,
            os.cpu_count() or 1,
        )
