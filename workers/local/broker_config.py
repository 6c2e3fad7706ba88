"""What the embedded broker is told: Kafka's properties and the options of its Java."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from workers.core.errors import UsageError

HOST = "127.0.0.1"
LOGGING = Path(__file__).with_name("broker-log4j2.json")
_LARGEST_RECORD = 64 * 1024 * 1024  # bytes; each topic sets its own, lower limit


@dataclass(frozen=True, slots=True)
class ExtraListener:
    """One more port, which tells clients to come to `advertised_port`: a proxy in front of the broker, say."""

    name: str
    port: int
    advertised_port: int


@dataclass(frozen=True, slots=True)
class BrokerFiles:
    """Where everything of one broker lies."""

    directory: Path

    def __post_init__(self) -> None:
        """Refuse what Kafka can't be told: `log.dirs` is a list with commas."""
        if "," in str(self.directory):
            raise UsageError(f"the broker's directory must not have a comma in its name: {self.directory}")

    @property
    def data(self) -> Path:
        """Topics and the metadata log."""
        return self.directory / "data"

    @property
    def logs(self) -> Path:
        """`server.log`, rolled by size."""
        return self.directory / "logs"

    @property
    def console(self) -> Path:
        """What the last start printed."""
        return self.logs / "console.log"

    @property
    def server_log(self) -> Path:
        """The broker's own log."""
        return self.logs / "server.log"

    @property
    def properties(self) -> Path:
        """`server.properties`; its path in a command line is what makes a process this broker."""
        return self.directory / "server.properties"

    @property
    def state(self) -> Path:
        """Ports and pid."""
        return self.directory / "broker.json"

    @property
    def lock(self) -> Path:
        """Held by whoever starts or stops."""
        return self.directory / "lock"

    @property
    def verified_jars(self) -> Path:
        """Which jars were found right."""
        return self.directory / "verified-jars.json"

    def cluster_id(self) -> str | None:
        """The cluster's id, None before the data directory is formatted."""
        try:
            lines = (self.data / "meta.properties").read_text().splitlines()
        except FileNotFoundError:
            return None
        return next((line.partition("=")[2] for line in lines if line.startswith("cluster.id=")), None)


@dataclass(frozen=True, slots=True)
class BrokerConfig:
    """One broker and controller in one process. `performance` trades a slower start for speed, `cores` may it use."""

    files: BrokerFiles
    port: int
    controller_port: int
    listeners: tuple[ExtraListener, ...] = ()
    performance: bool = False
    cores: int = 2

    @property
    def bootstrap(self) -> str:
        """The address that clients are given."""
        return f"{HOST}:{self.port}"

    def properties(self) -> dict[str, str]:
        """Kafka's `server.properties`."""
        own = [
            ExtraListener("PLAINTEXT", self.port, self.port),
            *self.listeners,
        ]
        names = [listener.name for listener in own]
        return {
            "process.roles": "broker,controller",
            "node.id": "1",
            # A fixed quorum: the controller's port may change from one start to the next.
            "controller.quorum.voters": f"1@{HOST}:{self.controller_port}",
            "controller.listener.names": "CONTROLLER",
            "listeners": ",".join(
                [f"{one.name}://{HOST}:{one.port}" for one in own]
                + [f"CONTROLLER://{HOST}:{self.controller_port}"]
            ),
            "advertised.listeners": ",".join(f"{one.name}://{HOST}:{one.advertised_port}" for one in own),
            "listener.security.protocol.map": ",".join(
                f"{name}:PLAINTEXT" for name in [*names, "CONTROLLER"]
            ),
            "inter.broker.listener.name": "PLAINTEXT",
            "log.dirs": str(self.files.data),
            # After a kill, the controller waits this long for the old broker before it takes the new one.
            "broker.session.timeout.ms": "3000",
            "broker.heartbeat.interval.ms": "500",
            **single_node_properties(),
            **_threads(self.cores),
            **({} if self.performance else _SMALL),
        }

    def java_options(self) -> list[str]:
        """Options of the JVM. Without `performance` it starts in half the time and stays smaller.

        With it the heap is there from the beginning, so that what grows later is not the heap.
        """
        engine = (
            ["-Xms1g", "-Xmx1g", "-XX:+AlwaysPreTouch", "-XX:+UseG1GC", "-XX:MaxGCPauseMillis=20"]
            if self.performance
            else ["-Xms128m", "-Xmx512m", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1"]
        )
        return [
            *engine,
            "-XX:+ExitOnOutOfMemoryError",
            f"-XX:ErrorFile={self.files.logs}/java-crash-%p.txt",
            "-Djava.awt.headless=true",
            f"-Dlog4j2.configurationFile={LOGGING}",
            f"-Drelayfleet.logs={self.files.logs}",
        ]


_SMALL = {"background.threads": "2"}


def _threads(cores: int) -> dict[str, str]:
    """As many as can run at once, and never more than Kafka's defaults of three and eight.

    Each request is handed from one to another, and those that sleep have to be woken: on two cores the defaults took a
    tenth more of the whole machine for a message at 1,000 a second.
    """
    return {
        "num.network.threads": str(min(3, max(1, cores // 2))),
        "num.io.threads": str(min(8, max(2, cores))),
    }


def single_node_properties() -> dict[str, str]:
    """What every broker that stands alone for development and tests is told, embedded or in a container."""
    internal = {
        f"{name}.{key}": value
        for name in ("offsets.topic", "transaction.state.log", "share.coordinator.state.topic")
        for key, value in (("replication.factor", "1"), ("num.partitions", "4"))
    }
    return {
        **internal,
        "transaction.state.log.min.isr": "1",
        "share.coordinator.state.topic.min.isr": "1",
        "auto.create.topics.enable": "false",
        "message.max.bytes": str(_LARGEST_RECORD),
        "replica.fetch.max.bytes": str(_LARGEST_RECORD),
        "log.cleaner.dedupe.buffer.size": str(16 * 1024 * 1024),
        # One machine, few members: let a group settle, and miss a dead member, within seconds.
        "group.initial.rebalance.delay.ms": "0",
        "group.min.session.timeout.ms": "1000",
        "group.consumer.min.session.timeout.ms": "1000",
        "group.consumer.min.heartbeat.interval.ms": "200",
        "group.consumer.session.timeout.ms": "6000",
        "group.consumer.heartbeat.interval.ms": "1000",
    }


def render_properties(values: Mapping[str, str]) -> str:
    """A Java properties file, pure ASCII."""
    return "".join(f"{key}={_escape(value)}\n" for key, value in values.items())


def _escape(value: str) -> str:
    escaped = value.replace("\\", "\\\\").encode("utf-16-be", "surrogatepass")
    units = [int.from_bytes(escaped[at : at + 2]) for at in range(0, len(escaped), 2)]
    return "".join(chr(unit) if 0x20 <= unit < 0x7F else f"\\u{unit:04x}" for unit in units)
