"""Looking at dead letters of several systems on a real broker; and every command of the guide, in its order."""

import asyncio
import re
import shlex
import signal
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import orjson
import pytest
import yaml
from confluent_kafka import KafkaException, TopicPartition
from confluent_kafka.admin import AdminClient
from typer.testing import CliRunner, Result

from tests.dlq_deployment import Deployment, deploy
from tests.processes import free_port, get
from tests.support import consume, create_topic, eventually, produce, unique
from tests.unit.dlq.letters import CONNECT, SHARE, SPRING, STREAMS
from workers.cli import app

ROOT = Path(__file__).resolve().parents[2]
GUIDE = ROOT / "docs/dead-letters.md"
COMMANDS = re.findall(r"^relayfleet dlq (.+)$", GUIDE.read_text(), re.MULTILINE)


@dataclass(frozen=True)
class Desk:
    """An operator's desk: `relayfleet dlq` over a deployment, whose dead letters are this test's own."""

    deployment: Deployment
    topology: Path

    @property
    def topic(self) -> str:
        return self.deployment.dead_letters

    def dlq(self, *arguments: str) -> Result:
        """Run a command in this process."""
        options = [] if arguments[0] == "list" else ["--topology", str(self.topology)]
        return CliRunner().invoke(app, ["dlq", *arguments, *options], env=dict(self.deployment.environment))

    def json(self, *arguments: str) -> dict[str, Any]:
        """What a command prints with `-o json`."""
        done = self.dlq(*arguments, "-o", "json")
        assert done.exit_code == 0, done.output
        found: dict[str, Any] = orjson.loads(done.stdout)
        return found

    def put(
        self, value: bytes | None, headers: Sequence[tuple[str, bytes | None]], partition: int = 0
    ) -> None:
        """A record on the dead-letter topic."""
        plain = [(name, value or b"") for name, value in headers]
        produce(self.deployment.bootstrap, self.topic, [value], headers=plain, partition=partition)


@pytest.fixture(scope="module")
def deployed(kafka: str, tmp_path_factory: pytest.TempPathFactory) -> Deployment:
    return deploy(kafka, tmp_path_factory.mktemp("deployment"))


@pytest.fixture
def desk(deployed: Deployment, tmp_path: Path) -> Desk:
    topic = create_topic(deployed.bootstrap, unique("dlq.looking"), partitions=3)
    return _desk(deployed, tmp_path, topic, deployed.ledger)


def _desk(deployed: Deployment, folder: Path, topic: str, ledger: str) -> Desk:
    topology = yaml.safe_load((deployed.directory / "topology.yaml").read_text())
    topology["topics"]["dlq.model_requests"] = {"name": topic}
    topology["topics"]["dead_letter_ledger"] = {"name": ledger}
    file = folder / "topology.yaml"
    file.write_text(yaml.safe_dump(topology))
    return Desk(replace(deployed, dead_letters=topic, ledger=ledger), file)


def test_letters_of_every_family_are_read_by_one_index(desk: Desk) -> None:
    desk.deployment.add(30, target="llm")
    for headers in (STREAMS, SHARE, ()):
        desk.put(b'{"id": 7}', headers)
    desk.put(b"\xff\x00", SPRING)
    families = {row["family"]: row["count"] for row in desk.json("stats", "--by", "family")["rows"]}
    assert families == {"relayfleet": 24, "connect": 3, "spring": 4, "streams": 1, "share": 1, "unknown": 1}
    desk.put(None, CONNECT)
    assert desk.json("stats")["total"] == 35
    (row,) = desk.json("peek", "--where", "format = 'null'")["letters"]
    assert (row["class"], row["origin_topic"]) == ("DataException", "orders")


async def test_a_topic_that_was_created_again_starts_from_nothing(desk: Desk) -> None:
    bootstrap, topic = desk.deployment.bootstrap, desk.topic
    produce(bootstrap, topic, [b"{}"] * 3, partition=0)
    assert (await asyncio.to_thread(desk.json, "stats"))["total"] == 3
    admin = AdminClient({"bootstrap.servers": bootstrap})
    admin.delete_topics([topic])[topic].result(60)

    def created() -> bool:
        try:
            return bool(create_topic(bootstrap, topic))
        except KafkaException as error:
            raise AssertionError("deleting it takes the broker a moment") from error

    await eventually(created)
    produce(bootstrap, topic, [b"[]"] * 5, partition=0)
    assert (await asyncio.to_thread(desk.json, "stats"))["total"] == 5
    old = await asyncio.to_thread(desk.json, "stats", "--where", "value::VARCHAR = '{}'")
    assert old["total"] == 0


def test_a_purged_letter_is_said_to_be_gone(desk: Desk) -> None:
    for _ in range(3):
        desk.put(b"{}", SHARE)
    assert desk.json("stats")["total"] == 3
    admin = AdminClient({"bootstrap.servers": desk.deployment.bootstrap})
    for future in admin.delete_records([TopicPartition(desk.topic, 0, 2)]).values():
        future.result(60)
    done = desk.dlq("show", f"{desk.topic}:0:1")
    assert done.exit_code == 2
    assert "is gone" in done.stderr
    assert [row["offset"] for row in desk.json("peek")["letters"]] == [2]


def test_a_payload_is_shown_only_once_that_is_on_record(desk: Desk) -> None:
    large = orjson.dumps({"payload": {"text": "secret " * 20_000}})
    desk.put(large, CONNECT)
    position = f"{desk.topic}:0:0"
    assert "secret" not in desk.dlq("show", position, "-o", "json").stdout
    assert "secret" not in desk.dlq("peek", "-o", "json").stdout
    shown = desk.json("show", position, "--show-payload")
    assert shown["value"] == orjson.loads(large)
    deeds = [deed for deed in _deeds(desk) if position in deed["what"]]
    (deed,) = deeds
    assert (deed["action"], deed["who"].split("@")[0], deed["count"]) == ("look", "ana", 1)
    (row,) = desk.json("peek", "--show-payload")["letters"]
    assert row["value"] == orjson.loads(large)
    assert [deed["count"] for deed in _deeds(desk) if f"letters of {desk.topic}" in deed["what"]] == [1]


def _deeds(desk: Desk) -> list[dict[str, Any]]:
    records = desk.deployment.records(1, desk.deployment.ledger)
    return [orjson.loads(each.value() or b"{}") for each in records]


def test_without_a_ledger_no_payload_is_shown(desk: Desk, tmp_path: Path) -> None:
    desk.put(b'{"payload": {"text": "secret"}}', CONNECT)
    bare = _desk(desk.deployment, tmp_path, desk.topic, unique("ledger"))
    for command in (["show", f"{desk.topic}:0:0"], ["peek"], ["export", "--to", str(tmp_path / "x.ndjson")]):
        done = bare.dlq(*command, "--show-payload")
        assert done.exit_code == 2
        assert "secret" not in done.output
        assert bare.deployment.ledger in done.stderr
    assert not (tmp_path / "x.ndjson").exists()


def test_the_steps_of_a_message_and_its_original_are_shown(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("dlq_tools.history._BUDGET", 60.0)
    desk.deployment.add(4)
    (row,) = desk.json("peek", "--where", "family = 'relayfleet' and message_id = 'm-3'")["letters"]
    logs = desk.deployment.requests.removesuffix(".requests") + ".logs"
    event = {
        "event": "attempted",
        "message_id": "m-3",
        "process": "worker",
        "timestamp": 1_700_000_000,
        "target": "llm",
    }
    other = {**event, "message_id": "m-33"}
    produce(desk.deployment.bootstrap, logs, [orjson.dumps(event), orjson.dumps(other), b"damaged m-3"])
    shown = desk.json("show", row["position"])
    assert [step["event"] for step in shown["history"]] == ["attempted"]
    assert shown["original"]["still_there"] is False
    assert "history" not in desk.json("show", row["position"], "--no-history")


def test_what_was_exported_can_be_imported_byte_for_byte(desk: Desk, tmp_path: Path) -> None:
    desk.deployment.add(40)
    desk.put(b"\xff\x00", SPRING)
    file = tmp_path / "letters.parquet"
    assert desk.json("export", "--to", str(file), "--show-payload")["letters"] == 41
    target = create_topic(desk.deployment.bootstrap, f"{desk.topic}.copy")
    assert desk.json("import", str(file), "--to", target)["written"] is False
    assert desk.json("import", str(file), "--to", target, "--yes")["letters"] == 41
    kinds = [
        sorted(
            (each.key() or b"", each.value() or b"", each.timestamp()[1], str(each.headers()))
            for each in consume(desk.deployment.bootstrap, topic, 41)
        )
        for topic in (desk.topic, target)
    ]
    assert kinds[0] == kinds[1]
    assert desk.dlq("import", str(file), "--to", "dlq.nope", "--yes").exit_code == 2


@pytest.mark.parametrize(
    ("arguments", "code", "reason"),
    [
        (["stats", "--topic", "dlq.nope"], 2, "no topic 'dlq.nope'"),
        (["list", "dlq.nope"], 2, "no topic 'dlq.nope'"),
        (["show", "dlq.nope:0:0"], 2, "no topic 'dlq.nope'"),
        (["show", "nonsense"], 2, "TOPIC:PARTITION:OFFSET"),
        (["peek", "--where", "class = and"], 2, "syntax error"),
        (["peek", "--since", "soon"], 2, "--since 'soon' is no time"),
        (["stats", "--by", "mood"], 2, "--by can't be 'mood'"),
        (["group", "--kafka", "127.0.0.1:1"], 4, "127.0.0.1:1"),
        (["export", "--to", "x.csv"], 2, "names no format"),
        (["import", "/nonexistent.ndjson", "--to", "x"], 2, "No such file"),
    ],
)
def test_what_is_wrong_is_said_with_an_exit_code(
    kafka: str, tmp_path: Path, arguments: list[str], code: int, reason: str
) -> None:
    (tmp_path / "topology.yaml").write_bytes(Path(ROOT / "topology.yaml").read_bytes())
    environment = {
        "RELAYFLEET_HOME": str(tmp_path),
        "RELAYFLEET_TOPOLOGY": str(tmp_path / "topology.yaml"),
        "KAFKA_BOOTSTRAP": kafka,
    }
    done = CliRunner().invoke(app, ["dlq", *arguments], env=environment)
    assert done.exit_code == code, done.output
    assert reason in done.stderr
    assert done.stdout == ""


async def test_the_watch_counts_and_tells_of_an_error_never_seen_before(desk: Desk) -> None:
    port = free_port()
    desk.put(b"{}", CONNECT)
    watching = _watch(desk, port)

    def metric(name: str) -> float:
        page = (get(f"http://127.0.0.1:{port}/metrics") or b"").decode()
        found = re.search(
            rf'^relayfleet_dead_letters{name}{{topic="{re.escape(desk.topic)}"}} (\S+)$', page, re.MULTILINE
        )
        assert found is not None, page
        return float(found[1])

    def shown() -> tuple[float, float, float]:
        return metric("_new_fingerprints_total"), metric(""), metric("_last_hour")

    try:
        await eventually(lambda: shown() == (0, 1, 1), 60.0)
        desk.put(b"{}", SPRING)
        await eventually(lambda: shown() == (1, 2, 2), 60.0)
    finally:
        watching.send_signal(signal.SIGTERM)
        output, _ = watching.communicate(timeout=60)
    assert watching.returncode == 0
    assert output.decode().count("dlq.new_fingerprint") == 1
    assert "NullPointerException" in output.decode()


def _watch(desk: Desk, port: int) -> "subprocess.Popen[bytes]":
    (line,) = (line for line in COMMANDS if line.startswith("watch"))
    arguments = shlex.split(line.replace("9105", str(port)).replace("--every 15", "--every 1"))
    return subprocess.Popen(
        [sys.executable, "-m", "workers", "dlq", *arguments, "--topology", str(desk.topology)],
        env=dict(desk.deployment.environment),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        cwd=ROOT,
    )


def test_every_command_of_the_guide_does_what_it_says(desk: Desk, tmp_path: Path) -> None:
    desk.deployment.add(60)
    assert len(COMMANDS) > 14
    printed = {line: _followed(desk, line, tmp_path) for line in COMMANDS if not line.startswith("watch")}
    assert desk.topic in printed["list"]
    assert "likely:" in printed["group"]
    assert "m-" in printed["show dlq.model_requests:0:0 --show-payload"]
    assert "--yes writes them" in printed["import letters.ndjson --to dlq.model_requests"]


def _schema(folder: Path) -> Path:
    file = folder / "order.avsc"
    fields = [{"name": "id", "type": "long"}]
    file.write_bytes(orjson.dumps({"type": "record", "name": "Order", "fields": fields}))
    return file


def _followed(desk: Desk, line: str, folder: Path) -> str:
    """What a line of the guide prints; names and files are those of this test."""
    line = (
        f"list {desk.topic}"
        if line == "list"
        else line.replace("dlq.model_requests", desk.topic)
        .replace("letters.", f"{folder}/letters.")
        .replace("order.avsc", str(_schema(folder)))
    )
    done = desk.dlq(*shlex.split(line))
    assert done.exit_code == 0, (line, done.output)
    return done.stdout
