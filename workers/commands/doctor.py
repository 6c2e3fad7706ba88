"""`relayfleet doctor`: what is wrong with this deployment, and what to do about it."""

import asyncio
import platform
import socket
from collections.abc import AsyncIterator
from dataclasses import asdict, dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Literal
from urllib.parse import urlsplit

from rich.table import Table
from rich.text import Text

from workers import assembly
from workers.core.errors import UnreachableError, UsageError
from workers.core.exit_codes import ExitCode
from workers.core.logging import configure_logging
from workers.core.ports import Admin
from workers.core.redact import redact
from workers.core.settings import Settings
from workers.core.topology.difference import difference
from workers.core.topology.model import (
    GrpcTarget,
    HttpTarget,
    KafkaTarget,
    OpenAITarget,
    SqlTarget,
    Topology,
    WebSocketTarget,
)
from workers.core.topology.names import Names
from workers.core.topology.topics import wanted_topics
from workers.shell import (
    KafkaOption,
    Output,
    OutputOption,
    TopologyOption,
    console,
    load,
    print_json,
    run,
)

_CONNECT_TIMEOUT = 3.0
_PORTS = {"http": 80, "ws": 80, "grpc": 50051, "kafka": 9092}
_LIBRARIES = ("confluent-kafka", "faust-streaming", "httptools", "redis")


@dataclass(frozen=True, slots=True)
class Finding:
    """The result of one check."""

    check: str
    state: Literal["ok", "wrong", "unreachable"]
    found: str
    do: str = ""


def doctor(
    topology: TopologyOption = None, kafka: KafkaOption = None, output: OutputOption = Output.TABLE
) -> None:
    """Check versions, topology, Kafka, topics, groups and backends; say what is wrong and what to do.

    Exits 0 when all is well, 1 when something is wrong, 4 when a broker or backend can't be reached.
    """
    configure_logging("doctor", level="error")

    async def main() -> ExitCode:
        settings = Settings.read()
        findings = [_versions()]
        try:
            loaded = load(topology, settings)
        except UsageError as error:
            findings.append(Finding("topology", "wrong", str(error), "correct the file and run this again"))
        else:
            findings.append(
                Finding("topology", "ok", f"{len(loaded.routes)} routes, {len(loaded.targets)} targets")
            )
            findings += [finding async for finding in _kafka(loaded, settings, kafka)]
            findings += await asyncio.gather(*_backends(loaded))
        _print(findings, output)
        return _exit_code(findings)

    run(main)


def _versions() -> Finding:
    found = [f"Python {platform.python_version()}"]
    for name in _LIBRARIES:
        try:
            found.append(f"{name} {version(name)}")
        except PackageNotFoundError:
            return Finding("versions", "wrong", f"{name} is not installed", "run `make install`")
    return Finding("versions", "ok", ", ".join(found))


async def _kafka(topology: Topology, settings: Settings, bootstrap: str | None) -> AsyncIterator[Finding]:
    try:
        async with assembly.open_admin(topology, settings, bootstrap) as admin:
            cluster = await admin.cluster()
            yield Finding("kafka", "ok", f"cluster {cluster.cluster_id} at {', '.join(cluster.brokers)}")
            yield await _topics(topology, admin)
            yield await _groups(topology, admin)
    except (UnreachableError, UsageError) as error:
        yield Finding("kafka", "unreachable", str(error))  # which says what to do, too


async def _topics(topology: Topology, admin: Admin) -> Finding:
    wanted = wanted_topics(topology)
    existing = await admin.topics([topic.name for topic in wanted])
    actions = difference(wanted, existing).actions
    if not actions:
        return Finding("topics", "ok", f"{len(wanted)} as the topology says")
    return Finding(
        "topics",
        "wrong",
        f"{len(actions)} differ",
        "`relayfleet topology diff` shows how, `topology apply` mends",
    )


async def _groups(topology: Topology, admin: Admin) -> Finding:
    names = Names(topology)
    groups = {names.router_group: names.requests} | {
        names.worker_group(target): names.target(target) for target in topology.targets
    }
    ends = await admin.end_offsets([*groups.values()])
    lags = []
    for group, topic in groups.items():
        committed = await admin.committed(group)
        behind = sum(
            end - (committed[place].offset if place in committed else first)
            for place, (first, end) in ends.items()
            if place.topic == topic
        )
        lags.append(f"{group} {behind:,}")
    return Finding("lag", "ok", "; ".join(lags))


def _backends(topology: Topology) -> list[asyncio.Task[Finding]]:
    tasks = []
    for name, target in topology.targets.items():
        match target:
            case OpenAITarget() | HttpTarget() | WebSocketTarget() | GrpcTarget():
                tasks += [asyncio.create_task(_listening(name, one.url)) for one in target.instances]
            case KafkaTarget():
                brokers = target.kafka.bootstrap.split(",")
                tasks += [asyncio.create_task(_listening(name, f"kafka://{one.strip()}")) for one in brokers]
            case SqlTarget():
                tasks.append(asyncio.create_task(_database(name, target.dsn.get_secret_value())))
    return tasks


async def _listening(target: str, url: str) -> Finding:
    parts = urlsplit(url)
    host, port = parts.hostname or "", parts.port or _PORTS.get(parts.scheme, 443)
    check = f"target {target}"
    try:
        async with asyncio.timeout(_CONNECT_TIMEOUT):
            _, writer = await asyncio.open_connection(host, port)
    except (OSError, TimeoutError, socket.gaierror):
        return Finding(
            check, "unreachable", f"nobody answers at {host}:{port}", "start the backend, or correct its url"
        )
    writer.close()
    return Finding(check, "ok", f"{host}:{port} answers")


async def _database(target: str, dsn: str) -> Finding:
    path = dsn.removeprefix("sqlite:///")
    if path != dsn and not await asyncio.to_thread(Path(path).exists):
        return Finding(
            f"target {target}",
            "unreachable",
            f"there is no file {path}",
            "create it, or correct the dsn; `make up` builds the sample",
        )
    return Finding(f"target {target}", "ok", redact(dsn))


def _print(findings: list[Finding], output: Output) -> None:
    if output is Output.JSON:
        print_json(
            {
                "ok": all(finding.state == "ok" for finding in findings),
                "findings": [asdict(f) for f in findings],
            }
        )
        return
    table = Table(box=None, pad_edge=False, show_header=False)
    for finding in findings:
        mark = Text("ok", style="green") if finding.state == "ok" else Text(finding.state, style="bold red")
        advice = Text(f"\n-> {finding.do}", style="yellow") if finding.do else Text()
        table.add_row(Text(finding.check, style="bold"), mark, Text.assemble(finding.found, advice))
    console().print(table)


def _exit_code(findings: list[Finding]) -> ExitCode:
    states = {finding.state for finding in findings}
    if "unreachable" in states:
        return ExitCode.UNREACHABLE
    return ExitCode.FAILED if "wrong" in states else ExitCode.DONE
