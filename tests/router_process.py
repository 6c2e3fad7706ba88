"""A real router as a process of its own, on a real broker, with a topology of its own."""

import signal
import subprocess
import sys
import urllib.request
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import orjson
import yaml
from confluent_kafka import Consumer, TopicPartition

from tests.processes import free_port
from tests.support import create_topic, eventually, unique
from workers.core.settings import Settings

ROOT = Path(__file__).resolve().parents[1]
LLM = {"type": "openai", "instances": [{"url": "http://127.0.0.1:1/v1"}]}


@dataclass
class RouterRig:
    """Topics and a topology file; routers are started on it one by one and all killed at the end."""

    bootstrap: str
    directory: Path
    requests: str = field(default_factory=lambda: unique("router"))
    processes: list["subprocess.Popen[bytes]"] = field(default_factory=list)

    def prepare(self, partitions: int = 4, **changes: Any) -> None:
        """Write the topology and create its topics."""
        topology = {
            "version": 1,
            "topics": {
                "model_requests": {"name": self.requests},
                "model_responses": {"name": self.responses},
                "fleet_logs": {"name": f"{self.requests}.logs"},
            },
            "routes": [
                {"name": "urgent", "when": {"source": "iot"}, "to": "soon"},
                {"name": "default", "to": "llm"},
            ],
            "targets": {"llm": LLM, "soon": {**LLM, "expires_after": "1s"}},
            **changes,
        }
        self.topology.write_text(yaml.safe_dump(topology))
        create_topic(self.bootstrap, self.requests, partitions, {"max.message.bytes": "8000000"})
        for name in ("llm", "soon", "responses", "logs"):
            create_topic(self.bootstrap, f"{self.requests}.{name}", partitions)
        create_topic(self.bootstrap, self.dead_letters, partitions)

    @property
    def topology(self) -> Path:
        """The topology file."""
        return self.directory / "topology.yaml"

    @property
    def llm(self) -> str:
        """The topic of the target `llm`."""
        return f"{self.requests}.llm"

    @property
    def responses(self) -> str:
        """The topic of the responses."""
        return f"{self.requests}.responses"

    @property
    def dead_letters(self) -> str:
        """The topic of the dead letters."""
        return f"dlq.{self.requests}"

    def start(self, *arguments: str) -> "subprocess.Popen[bytes]":
        """Start a router and return at once."""
        return self.start_module(
            "workers", "router", "--topology", str(self.topology), "--kafka", self.bootstrap, *arguments
        )

    def start_module(self, module: str, *arguments: str) -> "subprocess.Popen[bytes]":
        """Start any other module in a router's place."""
        with self.log.open("ab") as log:
            process = subprocess.Popen(
                (sys.executable, "-m", module, *arguments),
                cwd=ROOT,
                stdout=log,
                stderr=log,
                env={**Settings.read().environment, "RELAYFLEET_HOME": str(self.directory)},
            )
        self.processes.append(process)
        return process

    async def in_service(self, *arguments: str) -> "subprocess.Popen[bytes]":
        """Start a router and wait until it is a member of its group."""
        port = free_port()
        process = self.start("--health-port", str(port), *arguments)
        await self.ready(process, port)
        return process

    async def ready(self, process: "subprocess.Popen[bytes]", port: int) -> None:
        """Wait until a router that was started with this health port is a member of its group."""
        await eventually(lambda: _is_ready(process, port), 60)

    @property
    def log(self) -> Path:
        """What all routers of this rig wrote."""
        return self.directory / "router.log"

    async def end(self, process: "subprocess.Popen[bytes]", number: int = signal.SIGTERM) -> int:
        """Signal a router and return its exit code."""
        process.send_signal(number)
        return await self.ended(process)

    async def ended(self, process: "subprocess.Popen[bytes]") -> int:
        """The exit code of a router that ends by itself."""
        await eventually(lambda: process.poll() is not None, 60)
        assert process.returncode is not None
        return process.returncode

    def stop(self) -> None:
        """Kill what still runs."""
        for process in self.processes:
            if process.poll() is None:
                process.send_signal(signal.SIGCONT)
                process.kill()
                process.wait()

    def lag(self) -> int:
        """Requests that the group has not committed."""
        consumer = Consumer(
            {"bootstrap.servers": self.bootstrap, "group.id": f"relayfleet.{self.requests}.router"}
        )
        try:
            numbers = consumer.list_topics(self.requests, timeout=30).topics[self.requests].partitions
            places = consumer.committed([TopicPartition(self.requests, n) for n in numbers], timeout=30)
            ends = [consumer.get_watermark_offsets(place, timeout=30)[1] for place in places]
            return sum(end - max(0, place.offset) for place, end in zip(places, ends, strict=True))
        finally:
            consumer.close()

    async def drained(self, patience: float = 60.0) -> None:
        """Wait until everything that was sent is committed."""
        await eventually(lambda: self.lag() == 0, patience, interval=0.2)


class Tap:
    """Counts the message ids that arrive on a topic."""

    def __init__(self, bootstrap: str, topic: str) -> None:
        self._consumer = Consumer(
            {"bootstrap.servers": bootstrap, "group.id": unique("tap"), "enable.auto.commit": False}
        )
        numbers = self._consumer.list_topics(topic, timeout=30).topics[topic].partitions
        self._consumer.assign([TopicPartition(topic, number, 0) for number in numbers])
        self.ids: Counter[str] = Counter()

    def look(self, wait: float = 0.0) -> int:
        """Read what is there; returns how many ids are known by now."""
        while messages := self._consumer.consume(5000, timeout=wait):
            for message in messages:
                assert message.error() is None, message.error()
                self.ids[orjson.loads(message.value() or b"")["message_id"]] += 1
        return len(self.ids)

    def grown(self, known: int) -> bool:
        """Whether there are more ids by now."""
        return self.look() > known

    @property
    def duplicates(self) -> int:
        """Records beyond the first of their id."""
        return self.ids.total() - len(self.ids)

    def close(self) -> None:
        """Let go."""
        self._consumer.close()


def envelope(message_id: str, source: str = "web", **fields: Any) -> bytes:
    """A request as a producer writes it."""
    return orjson.dumps(
        {
            "message_id": message_id,
            "source": source,
            "payload": {"text": "电脑蓝屏怎么办"},
            "timestamp": 1_700_000_000,
            **fields,
        }
    )


def _is_ready(process: "subprocess.Popen[bytes]", port: int) -> bool:
    if process.poll() is not None:
        raise RuntimeError(f"the router ended with {process.returncode}")
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/readyz", timeout=2) as answer:
            return bool(answer.status == 200)
    except OSError:
        return False
