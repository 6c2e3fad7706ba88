"""The container files, checked without an engine: pinned, private, and in step with what runs without containers."""

import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
import typer
import yaml

from workers.cli import app
from workers.core.settings import Settings
from workers.core.topology.load import load_topology
from workers.local.broker_config import single_node_properties
from workers.local.kafka_jars import kafka_version, read_pins

ROOT = Path(__file__).parents[2]
FILE = ROOT / "docker-compose.kafka.yml"
FLEET = ("topology", "model", "router", "worker")
PINNED = re.compile(r"[a-z0-9./-]+:v?\d+(\.\d+)+(-[a-z0-9-]+)?")
VARIABLE = re.compile(r"\$\{([A-Z_]+)")
# What Kafka's image is told beyond what the embedded broker is: names of its own network.
ADDRESSES = {
    "process.roles",
    "node.id",
    "controller.quorum.voters",
    "controller.listener.names",
    "listeners",
    "advertised.listeners",
    "listener.security.protocol.map",
    "inter.broker.listener.name",
    "log.dirs",
}


@pytest.fixture(scope="module")
def compose() -> dict[str, Any]:
    loaded: dict[str, Any] = yaml.safe_load(FILE.read_text())
    return loaded


def test_every_image_is_pinned_to_a_version(compose: dict[str, Any]) -> None:
    images = {name: service["image"] for name, service in compose["services"].items()}
    assert [name for name, image in images.items() if not PINNED.fullmatch(image)] == []
    bases = re.findall(r"^FROM (\S+)", (ROOT / "Dockerfile").read_text(), re.MULTILINE)
    assert bases
    assert all(PINNED.fullmatch(base) for base in bases)


def test_ports_are_published_on_loopback_alone(compose: dict[str, Any]) -> None:
    ports = [port for service in compose["services"].values() for port in service.get("ports", [])]
    assert "127.0.0.1:9092:9092" in ports
    assert all(re.fullmatch(r"127\.0\.0\.1:\d+:\d+", port) for port in ports)
    assert len({port.split(":")[1] for port in ports}) == len(ports)


def test_the_broker_is_the_embedded_one_in_release_and_settings(compose: dict[str, Any]) -> None:
    kafka = compose["services"]["kafka"]
    assert kafka["image"] == f"apache/kafka:{kafka_version(read_pins())}"
    given = {
        name.removeprefix("KAFKA_").lower().replace("_", "."): value
        for name, value in kafka["environment"].items()
        if name != "KAFKA_HEAP_OPTS"
    }
    assert {name: given.pop(name, None) for name in single_node_properties()} == single_node_properties()
    assert set(given) == ADDRESSES


def test_every_variable_is_one_that_something_reads(compose: dict[str, Any]) -> None:
    settings = (ROOT / "workers" / "core" / "settings.py").read_text()
    lines = (ROOT / "topology.yaml").read_text().splitlines()
    topology = "\n".join(line for line in lines if not line.startswith("#"))
    known = set(re.findall(r'"([A-Z_]{2,})"', settings)) | set(VARIABLE.findall(topology))
    given = {name for service in FLEET for name in compose["services"][service]["environment"]}
    assert given - known == set()
    assert set(VARIABLE.findall(FILE.read_text())) - known == set()
    # What the topology asks for and has no use on one's own machine alone is given.
    assert {name for name in VARIABLE.findall(topology) if name not in given} == set()


def test_the_fleet_runs_the_topology_of_the_project(compose: dict[str, Any]) -> None:
    for name in FLEET:
        assert compose["services"][name]["volumes"] == ["./topology.yaml:/app/topology.yaml:ro"]
    environment = {
        name: VARIABLE.sub("", value).removeprefix(":-").removesuffix("}")
        for name, value in compose["services"]["worker"]["environment"].items()
    }
    loaded = load_topology(ROOT / "topology.yaml", environment)
    assert loaded.kafka.bootstrap == "kafka:19092"
    assert loaded.stores.redis is not None
    assert loaded.stores.redis.get_secret_value() == "redis://redis:6379/0"
    assert Settings.read(environment).listen == "0.0.0.0"  # noqa: S104 - published by nobody
    assert "model:8091" in repr(loaded.targets["llm"])


@pytest.mark.parametrize("name", ["topology", "router", "worker"])
def test_the_commands_exist_and_take_their_options(compose: dict[str, Any], name: str) -> None:
    command: Any = typer.main.get_command(app)
    words = list(compose["services"][name]["command"])
    while hasattr(command, "commands"):
        command = command.commands[words.pop(0)]
    with command.make_context(name, words) as context:
        assert context.args == []


def test_whoever_waits_waits_for_something_that_can_be_healthy(compose: dict[str, Any]) -> None:
    services = compose["services"]
    for service in services.values():
        needed = service.get("depends_on", {})
        for name, needs in needed.items() if isinstance(needed, dict) else ():
            if needs["condition"] == "service_healthy":
                assert "test" in services[name]["healthcheck"]
            else:
                assert services[name]["restart"] == "no"


def test_prometheus_asks_where_the_fleet_serves_its_metrics(compose: dict[str, Any]) -> None:
    config = yaml.safe_load(compose["configs"]["prometheus"]["content"])
    (found,) = (job["dns_sd_configs"][0] for job in config["scrape_configs"])
    for name in found["names"]:
        assert compose["services"][name]["command"][-2:] == ["--health-port", str(found["port"])]
    assert f"127.0.0.1:{found['port']}/healthz" in (ROOT / "Dockerfile").read_text()


def test_the_image_runs_without_rights_and_copies_what_the_context_holds() -> None:
    dockerfile = (ROOT / "Dockerfile").read_text()
    assert re.search(r"^USER [1-9]\d+$", dockerfile, re.MULTILINE)
    allowed = re.findall(r"^!(\S+)", (ROOT / ".dockerignore").read_text(), re.MULTILINE)
    copied = [
        Path(source)
        for sources in re.findall(r"^COPY (?!--)(.+) \S+$", dockerfile, re.MULTILINE)
        for source in sources.split()
    ]
    assert copied
    for source in copied:
        assert (ROOT / source).exists()
        assert any(source.match(pattern) for pattern in allowed), source


def test_compose_itself_accepts_the_file() -> None:
    docker = shutil.which("docker") or shutil.which("docker-compose")
    if docker is None:
        pytest.skip("docker is not installed")
    command = [docker, "compose"] if Path(docker).name == "docker" else [docker]
    if subprocess.run([*command, "version"], capture_output=True, check=False).returncode:
        pytest.skip("docker has no compose plug-in")
    done = subprocess.run(
        [*command, "-f", str(FILE), "config", "--quiet"], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
