"""Messages a second of one router process, and the time of its hop, beside a bare loop with no guarantees.

    python -m benchmarks.router [--messages 250000] [--runs 3] [--rate 1000] [--kafka HOST:PORT]

The router has everything on: schema checks, routing headers, acknowledged deliveries before every commit, `fleet_logs`,
metrics. Broker and measurement run on the same machine. For the rate the requests are in the topic before the router
starts, and time is that of the routed records' arrival at a reader between the first tenth and the last. For the hop
messages are sent at their intended times, whether earlier ones came back or not, and counted from then.
"""

import argparse
import os
import sys
import tempfile
import threading
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from statistics import median, quantiles

import orjson
import psutil
from confluent_kafka import Consumer, Producer, TopicPartition
from confluent_kafka.admin import AdminClient
from confluent_kafka.cimpl import NewTopic

from benchmarks.parts import broker, measured
from workers.core.clock import SystemClock
from workers.core.scheduling import take_turns
from workers.core.settings import Settings

PARTITIONS = 4
WITHIN = 60.0  # seconds until everything must have come
HOP_SECONDS = 5
TEXTS = ("推荐一款5000元以内的笔记本电脑", "电脑蓝屏怎么办", "my parcel has not arrived yet")


@dataclass(frozen=True, slots=True)
class Result:
    """What one run showed; times in milliseconds."""

    rate: float
    cpu_microseconds: float
    p50: float
    p99: float


@dataclass(frozen=True, slots=True)
class Deployment:
    """Topics and a group that no other run has."""

    kafka: str
    name: str

    @property
    def routed(self) -> list[str]:
        """The topics of the targets."""
        return [f"{self.name}.llm", f"{self.name}.screens"]

    def topology(self) -> bytes:
        """What the router is told; JSON is YAML."""
        target = {"type": "openai", "instances": [{"url": "http://127.0.0.1:1/v1"}]}
        topics = {
            "model_requests": {"name": self.name},
            "model_responses": {"name": f"{self.name}.responses"},
            "fleet_logs": {"name": f"{self.name}.logs"},
        }
        routes = [
            {"name": "screens", "when": {"keywords": ["蓝屏", "blue screen", "crash"]}, "to": "screens"},
            {"name": "orders", "when": {"pattern": r"order\s+\d{6}"}, "to": "llm"},
            {"name": "default", "to": "llm"},
        ]
        return orjson.dumps(
            {
                "version": 1,
                "kafka": {"bootstrap": self.kafka},
                "topics": topics,
                "routes": routes,
                "targets": {"llm": target, "screens": target},
            }
        )

    def create(self) -> None:
        """Create the topics."""
        names = [self.name, *self.routed, f"{self.name}.responses", f"{self.name}.logs", f"dlq.{self.name}"]
        admin = AdminClient({"bootstrap.servers": self.kafka})
        wanted = [NewTopic(name, PARTITIONS, 1) for name in names]
        for created in admin.create_topics(wanted, operation_timeout=20).values():
            created.result(timeout=20)

    def reader(self) -> Consumer:
        """Everything that was routed and will be, in no group."""
        consumer = Consumer(
            {
                "bootstrap.servers": self.kafka,
                "group.id": f"{self.name}.look",
                "enable.auto.commit": False,
                "fetch.wait.max.ms": 5,
            }
        )
        consumer.assign([TopicPartition(topic, n, 0) for topic in self.routed for n in range(PARTITIONS)])
        return consumer


def measure(kind: str, kafka: str, messages: int, rate: int) -> Result:
    """One run of the router or of the bare loop: first as fast as it can, then at a given rate."""
    deployment = Deployment(kafka, f"bench-{uuid.uuid4().hex[:8]}")
    deployment.create()
    _fill(deployment, messages)
    reader = deployment.reader()
    with tempfile.TemporaryDirectory() as folder, _process(kind, deployment, Path(folder)) as process:
        per_second, cpu = _watch(reader, messages, process)
        hops = _hops(deployment, reader, rate)
    reader.close()
    cuts = quantiles(hops, n=100)
    return Result(per_second, cpu, cuts[49] * 1000, cuts[98] * 1000)


def _fill(deployment: Deployment, messages: int) -> None:
    producer = Producer(
        {
            "bootstrap.servers": deployment.kafka,
            "linger.ms": 20,
            "compression.type": "lz4",
            "queue.buffering.max.messages": 2_000_000,
        }
    )
    for number in range(messages):
        producer.produce(deployment.name, _envelope(number), f"k{number % 5000}".encode())
        producer.poll(0)
    producer.flush()


def _envelope(number: int) -> bytes:
    payload = {
        "text": TEXTS[number % len(TEXTS)],
        "context": {"user_history": ["之前咨询过显示器"]},
        "session_id": f"k{number % 5000}",
    }
    return orjson.dumps(
        {
            "message_id": f"m{number}",
            "source": "web",
            "payload": payload,
            "timestamp": int(SystemClock().wall()),
        }
    )


@contextmanager
def _process(kind: str, deployment: Deployment, folder: Path) -> Iterator[psutil.Process]:
    """The process that is measured."""
    topology = folder / "topology.yaml"
    topology.write_bytes(deployment.topology())
    if kind == "bare":
        command = ["-m", "benchmarks.bare_router", deployment.kafka, deployment.name]
    else:
        command = ["-m", "workers", "router", "--topology", str(topology)]
    with measured(command, folder / "log") as process:
        yield process


def _watch(reader: Consumer, messages: int, process: psutil.Process) -> tuple[float, float]:
    """Messages a second from the first tenth to the last, and microseconds of CPU a message."""
    seen, cpu = 0, 0.0
    tenth: tuple[int, float] | None = None
    until = time.monotonic() + WITHIN
    while seen < messages:
        arrived = len(reader.consume(5000, timeout=0.02))
        if arrived and not seen:
            cpu = _cpu(process)
        seen += arrived
        if tenth is None and seen >= messages // 10:
            tenth = seen, time.monotonic()
        if time.monotonic() > until:
            raise SystemExit(f"{seen} of {messages} messages were routed within {WITHIN:g} s")
    assert tenth is not None  # noqa: S101 - a tenth comes before all
    rate = (messages - tenth[0]) / (time.monotonic() - tenth[1])
    return rate, (_cpu(process) - cpu) / messages * 1e6


def _cpu(process: psutil.Process) -> float:
    times = process.cpu_times()
    return float(times.user + times.system)


def _hops(deployment: Deployment, reader: Consumer, rate: int) -> list[float]:
    """Seconds from the intended sending of a message to its being read from its target's topic."""
    count = rate * HOP_SECONDS
    start = time.monotonic() + 0.5
    sending = threading.Thread(target=_send, args=(deployment, count, rate, start))
    sending.start()
    hops: list[float] = []
    until = start + HOP_SECONDS + 30
    seen = 0
    while seen < count and time.monotonic() < until:
        first = reader.poll(0.05)  # `consume` alone would wait for its 500
        messages = [first, *reader.consume(499, timeout=0)] if first is not None else []
        now = time.monotonic()
        seen += len(messages)
        numbers = [int(orjson.loads(message.value() or b"")["message_id"][1:]) for message in messages]
        hops += [
            now - (start + number / rate) for number in numbers if number >= rate
        ]  # the first second warms up
    sending.join()
    return hops


def _send(deployment: Deployment, count: int, rate: int, start: float) -> None:
    producer = Producer({"bootstrap.servers": deployment.kafka, "linger.ms": 0})
    for number in range(count):
        if (ahead := start + number / rate - time.monotonic()) > 0:
            time.sleep(ahead)
        producer.produce(deployment.name, _envelope(number), f"k{number % 5000}".encode())
        producer.poll(0)
    producer.flush()


def main() -> None:
    """Run both, turn by turn, and print the medians."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.router", description=__doc__.split("\n")[0])
    parser.add_argument("--messages", type=int, default=250_000)
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--rate", type=int, default=1000, help="messages a second for the hop")
    parser.add_argument("--kafka", metavar="HOST:PORT", help="default: an embedded broker of its own")
    given = parser.parse_args()
    take_turns(Settings.read().take_turns)
    results: dict[str, list[Result]] = {"bare": [], "router": []}
    with broker(given.kafka) as kafka:
        for _ in range(given.runs):
            for kind, runs in results.items():
                runs.append(measure(kind, kafka, given.messages, given.rate))
    _print(results, given.rate)


def _print(results: dict[str, list[Result]], rate: int) -> None:
    write = sys.stdout.write
    write(f"{os.cpu_count()} cores, {PARTITIONS} partitions; medians; hop at {rate:,} messages/s\n")
    write(f"{'':8} {'messages/s':>12} {'spread':>17} {'CPU us each':>12} {'hop p50 ms':>11} {'p99 ms':>8}\n")
    for kind, runs in results.items():
        rates = [run.rate for run in runs]
        write(
            f"{kind:8} {median(rates):12,.0f} {min(rates):8,.0f}-{max(rates):<8,.0f}"
            f" {median(run.cpu_microseconds for run in runs):12.1f} {median(run.p50 for run in runs):11.1f}"
            f" {median(run.p99 for run in runs):8.1f}\n"
        )
    ours, bare = (median(run.rate for run in results[kind]) for kind in ("router", "bare"))
    write(f"the router reaches {ours / bare:.0%} of the bare loop\n")


if __name__ == "__main__":
    main()
