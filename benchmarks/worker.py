"""Messages a second of one worker process, beside a bare loop that does the same work with no guarantees.

    python -m benchmarks.worker [--messages 60000] [--runs 3] [--kafka HOST:PORT]

Broker, stub model and measurement run on the same machine. The requests are in the topic before anybody starts, and
the rate is that of the responses' timestamps in Kafka between the first tenth and the last, so start and end don't
count. The bare loop consumes, calls with pyreqwest, and produces; it commits what it has read, finished or not.
"""

import argparse
import os
import sys
import tempfile
import time
import uuid
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any

import orjson
import psutil
from confluent_kafka import Consumer, Message, TopicPartition

from benchmarks.load.backlog import PARTITIONS, create, fill
from benchmarks.parts import broker, measured, stub_model
from workers.core.scheduling import take_turns
from workers.core.settings import Settings

TARGET = "llm"
CONCURRENCY = 64
WITHIN = 120.0  # seconds until all responses must have come


@dataclass(frozen=True, slots=True)
class Result:
    """What one run showed."""

    name: str
    rate: float  # messages a second
    cpu_share: float  # of one core
    cpu_microseconds: float  # a message


@dataclass(frozen=True, slots=True)
class Deployment:
    """Topics and a group that no other run has."""

    kafka: str
    stub: str
    name: str

    @property
    def requests(self) -> str:
        """The target's topic."""
        return f"{self.name}.{TARGET}"

    @property
    def responses(self) -> str:
        """Where answers go."""
        return f"{self.name}.responses"

    @property
    def topics(self) -> list[str]:
        """Everything that must exist."""
        return [self.requests, self.responses, f"{self.name}.chunks", f"{self.name}.logs", f"dlq.{self.name}"]

    @property
    def topology(self) -> dict[str, Any]:
        """What a worker is told."""
        instance = {"url": f"{self.stub}/v1", "concurrency": CONCURRENCY}
        return {
            "version": 1,
            "kafka": {"bootstrap": self.kafka},
            "topics": {
                "defaults": {"partitions": PARTITIONS},
                "model_requests": {"name": self.name},
                "model_responses": {"name": self.responses},
                "model_chunks": {"name": f"{self.name}.chunks"},
                "fleet_logs": {"name": f"{self.name}.logs"},
            },
            "routes": [{"name": "default", "to": TARGET}],
            # No wait is longer than what is held in memory: no delay topics.
            "targets": {
                TARGET: {
                    "type": "openai",
                    "model": "stub",
                    "retry": {"hold_up_to": "60s"},
                    "instances": [instance],
                }
            },
        }


def measure(name: str, kafka: str, stub: str, messages: int) -> Result:
    """One run of the fleet's worker (`worker`) or of the bare loop (`bare`)."""
    deployment = Deployment(kafka, stub, f"bench-{uuid.uuid4().hex[:8]}")
    create(deployment.kafka, deployment.topics)
    fill(deployment.kafka, deployment.requests, messages)
    with tempfile.TemporaryDirectory() as folder, _process(name, deployment, Path(folder)) as process:
        return _watch(name, deployment, messages, process)


@contextmanager
def _process(name: str, deployment: Deployment, folder: Path) -> Iterator[psutil.Process]:
    """The process that is measured."""
    topology = folder / "topology.yaml"
    topology.write_bytes(orjson.dumps(deployment.topology))  # JSON is YAML
    if name == "bare":
        command = ["-m", "benchmarks.bare_worker", deployment.kafka, deployment.stub, deployment.name]
    else:
        command = ["-m", "workers", "worker", "--topology", str(topology)]
    with measured(command, folder / "log") as process:
        yield process


def _watch(name: str, deployment: Deployment, messages: int, process: psutil.Process) -> Result:
    """Count responses, and take time and CPU between the first tenth and the last message."""
    seen, stamps = 0, []
    begun: tuple[int, float] | None = None
    for batch in _responses(deployment):
        seen += len(batch)
        stamps += [message.timestamp()[1] for message in batch]
        if begun is None and seen >= messages // 10:
            begun = seen, _cpu(process)
        if seen >= messages:
            break
    assert begun is not None  # noqa: S101 - a tenth comes before all
    stamps.sort()
    counted = messages - begun[0]
    seconds = (stamps[-1] - stamps[begun[0]]) / 1000
    cpu = _cpu(process) - begun[1]
    return Result(name, counted / seconds, cpu / seconds, cpu / counted * 1e6)


def _responses(deployment: Deployment) -> Iterator[Sequence[Message]]:
    consumer = Consumer(
        {"bootstrap.servers": deployment.kafka, "group.id": deployment.name, "enable.auto.commit": False}
    )
    consumer.assign([TopicPartition(deployment.responses, number, 0) for number in range(PARTITIONS)])
    until = time.monotonic() + WITHIN
    try:
        while time.monotonic() < until:
            yield consumer.consume(5000, timeout=0.1)
    finally:
        consumer.close()
    raise SystemExit(f"not all responses came within {WITHIN:g} s")


def _cpu(process: psutil.Process) -> float:
    times = process.cpu_times()
    return float(times.user + times.system)


def main() -> None:
    """Run both, turn by turn, and print the medians."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.worker", description=__doc__.split("\n")[0])
    parser.add_argument("--messages", type=int, default=60_000)
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--kafka", metavar="HOST:PORT", help="default: an embedded broker of its own")
    given = parser.parse_args()
    take_turns(Settings.read().take_turns)
    results: dict[str, list[Result]] = {"bare": [], "worker": []}
    with broker(given.kafka) as kafka, stub_model() as stub:
        for _ in range(given.runs):
            for name, runs in results.items():
                runs.append(measure(name, kafka, stub, given.messages))
    _print(results)


def _print(results: dict[str, list[Result]]) -> None:
    sys.stdout.write(
        f"{os.cpu_count()} cores, {PARTITIONS} partitions, {CONCURRENCY} calls at once; medians\n"
    )
    sys.stdout.write(f"{'':8} {'messages/s':>12} {'CPU of a core':>14} {'CPU us each':>12} {'spread':>15}\n")
    for name, runs in results.items():
        rates = [run.rate for run in runs]
        sys.stdout.write(
            f"{name:8} {median(rates):12,.0f} {median(run.cpu_share for run in runs):14.0%}"
            f" {median(run.cpu_microseconds for run in runs):12.1f} {min(rates):7,.0f}-{max(rates):,.0f}\n"
        )
    ours, bare = (median(run.rate for run in results[name]) for name in ("worker", "bare"))
    sys.stdout.write(f"the worker reaches {ours / bare:.0%} of the bare loop\n")


if __name__ == "__main__":
    main()
