"""The brokers that the fixtures offer: embedded, in a container, and a private one that a test may mistreat."""

import signal
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from random import SystemRandom
from types import TracebackType
from typing import Self

import psutil

from tests.proxy import HOST, TcpProxy
from workers.local.broker import EmbeddedBroker
from workers.local.broker_config import ExtraListener, single_node_properties
from workers.local.children import Watchdog
from workers.local.free_ports import Ports

KAFKA_IMAGE = "apache/kafka:4.3.1"


def stable_port(ports: Ports) -> int:
    """A free port that no outgoing connection will take while nobody listens there."""
    return ports.take(SystemRandom().choice(range(10_000, 20_000, 10)))


@contextmanager
def embedded() -> Iterator[str]:
    """A broker with a home of its own; yields its bootstrap. It ends with this process, however that ends."""
    with tempfile.TemporaryDirectory(prefix="relayfleet-") as home, _guarded() as guard:
        broker = EmbeddedBroker(Path(home))
        try:
            started = broker.start()
            guard(started.pid)
            yield broker.bootstrap
        finally:
            broker.stop()


@contextmanager
def in_container() -> Iterator[str]:
    """The same broker from Kafka's own image; yields its bootstrap."""
    from testcontainers.core.container import DockerContainer
    from testcontainers.core.wait_strategies import LogMessageWaitStrategy

    port = stable_port(Ports())
    container = DockerContainer(KAFKA_IMAGE).with_bind_ports(port, port)
    for name, value in container_environment(port).items():
        container.with_env(name, value)
    waiting = LogMessageWaitStrategy("Kafka Server started").with_startup_timeout(90)
    with container.waiting_for(waiting):
        yield f"{HOST}:{port}"


def container_environment(port: int) -> dict[str, str]:
    """What Kafka's image is told, so that clients of this machine reach it at `port`."""
    properties = {
        "process.roles": "broker,controller",
        "node.id": "1",
        "controller.quorum.voters": "1@localhost:9093",
        "controller.listener.names": "CONTROLLER",
        "listeners": f"PLAINTEXT://:{port},CONTROLLER://:9093",
        "advertised.listeners": f"PLAINTEXT://{HOST}:{port}",
        "listener.security.protocol.map": "PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT",
        **single_node_properties(),
    }
    return {f"KAFKA_{name.replace('.', '_').upper()}": value for name, value in properties.items()}


class PrivateBroker:
    """A broker that a test may stop, kill, freeze and cut off. Data survives all of it.

    `bootstrap` goes straight to it; who bootstraps from `proxied` has every connection pass through `proxy`.
    """

    def __init__(self, home: Path, guard: Callable[[int | None], None]) -> None:
        ports = Ports()
        listener = ExtraListener("PROXIED", stable_port(ports), stable_port(ports))
        self.proxy = TcpProxy(listener.advertised_port, listener.port)
        self.proxied = f"{HOST}:{listener.advertised_port}"
        self.bootstrap = ""
        self._pid: int | None = None
        self._broker = EmbeddedBroker(home, listeners=(listener,))
        self._guard = guard

    def __enter__(self) -> Self:
        self.proxy.__enter__()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._broker.stop()
        self.proxy.__exit__(kind, error, trace)

    def start(self) -> None:
        """Start it where it does not run; it keeps its address."""
        started = self._broker.start()
        assert started.bootstrap is not None
        assert started.pid is not None
        self.bootstrap, self._pid = started.bootstrap, started.pid
        self._guard(started.pid)

    def stop(self) -> None:
        """Stop it gracefully."""
        self._broker.stop()
        self._pid = None

    def kill(self) -> None:
        """SIGKILL."""
        self._broker.kill()
        self._pid = None

    def freeze(self) -> None:
        """SIGSTOP, until `thaw`."""
        self._signal(signal.SIGSTOP)

    def thaw(self) -> None:
        """SIGCONT."""
        self._signal(signal.SIGCONT)

    def mend(self) -> None:
        """Undo whatever was done to it."""
        self.thaw()
        self.start()
        self.proxy.heal()

    def _signal(self, number: signal.Signals) -> None:
        if self._pid is not None:
            psutil.Process(self._pid).send_signal(number)


@contextmanager
def private() -> Iterator[PrivateBroker]:
    """A `PrivateBroker`, started."""
    with (
        tempfile.TemporaryDirectory(prefix="relayfleet-") as home,
        _guarded() as guard,
        PrivateBroker(Path(home), guard) as broker,
    ):
        broker.start()
        yield broker


@contextmanager
def _guarded() -> Iterator[Callable[[int | None], None]]:
    """Yields what to tell the pid to, so that the process does not outlive this one."""
    watchdog = Watchdog()
    try:
        yield lambda pid: watchdog.add(pid) if pid is not None else None
    finally:
        watchdog.close()
