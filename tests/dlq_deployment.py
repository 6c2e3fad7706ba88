"""A deployment on a real broker whose dead letters are there already, and `relayfleet dlq` over it."""

import asyncio
import os
import signal
import subprocess
import sys
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import orjson
import yaml
from confluent_kafka import Message, Producer
from typer.testing import CliRunner

from schemas.dead_letter import dead_letter_headers
from schemas.errors import ErrorClass
from tests import dlq_families
from tests.dlq_world import envelope, failure
from tests.support import consume, produce, reading, unique
from workers.commands.topology import app as topology_commands
from workers.core.exit_codes import ExitCode
from workers.core.settings import Settings

ROOT = Path(__file__).resolve().parents[1]
_CAUSES = (ErrorClass.TIMEOUT, ErrorClass.UPSTREAM_5XX, ErrorClass.CONTEXT_LENGTH)


@dataclass(frozen=True)
class Result:
    """How a command ended."""

    code: int
    output: str
    errors: str

    @property
    def json(self) -> dict[str, Any]:
        """The object that `-o json` printed."""
        found: dict[str, Any] = orjson.loads(self.output)
        return found


@dataclass(frozen=True)
class Deployment:
    """Topics of its own; nothing consumes them."""

    bootstrap: str
    directory: Path
    dead_letters: str
    requests: str
    ledger: str

    @property
    def target(self) -> str:
        """The topic of the target `llm`."""
        return f"{self.requests}.llm"

    @property
    def environment(self) -> Mapping[str, str]:
        """What the commands see."""
        return {
            **Settings.read().environment,
            "RELAYFLEET_HOME": str(self.directory / "home"),
            "RELAYFLEET_TOPOLOGY": str(self.directory / "topology.yaml"),
            "RELAYFLEET_USER": "ana",
            "KAFKA_BOOTSTRAP": self.bootstrap,
        }

    def command(self, *arguments: str) -> tuple[str, ...]:
        """The command line of `relayfleet …`."""
        return (sys.executable, "-m", "workers", *arguments)

    async def dlq(self, *arguments: str, **environment: str) -> Result:
        """Run `relayfleet dlq …` to its end."""
        return await asyncio.to_thread(self._run, ("dlq", *arguments), environment)

    def start(self, *arguments: str) -> subprocess.Popen[bytes]:
        """Start `relayfleet dlq …` in a group of its own."""
        return subprocess.Popen(
            self.command("dlq", *arguments),
            cwd=ROOT,
            env=dict(self.environment),
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )

    def add(self, count: int, *, first: int = 0, target: str | None = "llm") -> None:
        """Put dead letters of several causes on the topic: our own, and some as Kafka Connect and Spring write them."""
        producer = Producer({"bootstrap.servers": self.bootstrap, "acks": "all", "linger.ms": 5})
        for number in range(first, first + count):
            producer.produce(
                self.dead_letters,
                envelope(number),
                f"k{number % 97}".encode(),
                headers=list(self._headers(number, target)),
            )
            producer.poll(0)
        assert producer.flush(60) == 0

    def add_families(self, count: int) -> None:
        """Put dead letters of every family of headers on the topic, as many of each."""
        producer = Producer({"bootstrap.servers": self.bootstrap, "acks": "all", "linger.ms": 5})
        for number in range(count):
            found: list[tuple[str, str | bytes | None]] = list(
                dlq_families.headers(number, self.target, "llm")
            )
            while True:
                try:
                    producer.produce(
                        self.dead_letters, envelope(number), f"k{number % 97}".encode(), headers=found
                    )
                    break
                except BufferError:
                    producer.poll(0.1)
            producer.poll(0)
        assert producer.flush(60) == 0

    def add_raw(self, values: Sequence[bytes]) -> None:
        """Put dead letters of the target with these values on the topic."""
        headers = [(name, value or b"") for name, value in self._headers(2, "llm")]
        produce(self.bootstrap, self.dead_letters, values, headers=headers)

    def _headers(self, number: int, target: str | None) -> Sequence[tuple[str, bytes | None]]:
        if target is not None and number % 10 == 0:  # as Kafka Connect writes them
            return (
                ("__connect.errors.topic", self.target.encode()),
                ("__connect.errors.partition", b"0"),
                ("__connect.errors.offset", str(number).encode()),
                ("__connect.errors.exception.message", b"connection refused"),
            )
        if target is not None and number % 10 == 1:  # and Spring
            return (
                ("kafka_dlt-original-topic", self.target.encode()),
                ("kafka_dlt-original-partition", (0).to_bytes(4, "big")),
                ("kafka_dlt-original-offset", number.to_bytes(8, "big")),
                ("kafka_dlt-exception-message", b"Read timed out"),
            )
        return dead_letter_headers((), failure(number, target, _CAUSES[number % 3]))

    def sent(self, count: int, topic: str | None = None) -> Counter[str]:
        """The ids of the messages on a topic, once so many are there, and how often each came."""
        return Counter(
            str(orjson.loads(each.value() or b"{}")["message_id"]) for each in self.records(count, topic)
        )

    def length(self, topic: str | None = None) -> int:
        """How many records a topic (the target's) has."""
        consumer = reading(self.bootstrap, topic or self.target)
        try:
            bounds = [consumer.get_watermark_offsets(place) for place in consumer.assignment()]
            return sum(end - first for first, end in bounds)
        finally:
            consumer.close()

    def records(self, count: int, topic: str | None = None) -> list[Message]:
        """Everything on a topic (the target's), at least `count` records of it."""
        found = consume(self.bootstrap, topic or self.target, count)
        more = self.length(topic) - len(found)  # what came beside what was asked for
        return consume(self.bootstrap, topic or self.target, count + more) if more else found

    def _run(self, arguments: Sequence[str], environment: Mapping[str, str]) -> Result:
        done = subprocess.run(
            self.command(*arguments),
            cwd=ROOT,
            env={**self.environment, **environment},
            capture_output=True,
            text=True,
            check=False,
            timeout=100,
        )
        return Result(done.returncode, done.stdout, done.stderr)


def kill(process: subprocess.Popen[bytes]) -> None:
    """SIGKILL, whatever it is doing."""
    if process.poll() is None:
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()


def deploy(bootstrap: str, directory: Path, **llm: Any) -> Deployment:
    """Make the topics of a new deployment."""
    name = unique("dlq")
    requests = f"{name}.requests"
    topology = {
        "version": 1,
        "kafka": {"bootstrap": bootstrap},
        "topics": {
            "defaults": {"partitions": 3},
            "model_requests": {"name": requests},
            "model_responses": {"name": f"{name}.responses"},
            "model_chunks": {"name": f"{name}.chunks"},
            "dead_letter_ledger": {"name": f"{name}.ledger"},
            "fleet_logs": {"name": f"{name}.logs"},
        },
        "routes": [{"name": "default", "to": "llm"}],
        "targets": {"llm": {"type": "openai", "instances": [{"url": "http://127.0.0.1:1/v1"}], **llm}},
    }
    (directory / "topology.yaml").write_text(yaml.safe_dump(topology))
    made = Deployment(bootstrap, directory, f"dlq.{requests}", requests, f"{name}.ledger")
    # In this process: a command of its own would first load for seconds, once for every test.
    result = CliRunner().invoke(topology_commands, ("apply", "--yes"), env=made.environment)
    assert result.exit_code == ExitCode.DONE, result.output
    return made
