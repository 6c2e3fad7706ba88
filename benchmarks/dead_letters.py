"""`relayfleet dlq` over a topic with many dead letters: `python -m benchmarks.dead_letters --letters 1000000`.

Prints one JSON object: of each command the seconds from its start to its end and the most memory that it took, in MB;
the size of the index, in bytes a letter. `first` reads the whole topic into the index; the others find it there.
"""

import multiprocessing
import os
import subprocess
import sys
import tempfile
import time
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any

import orjson
import typer
from confluent_kafka import Producer
from confluent_kafka.admin import AdminClient
from confluent_kafka.cimpl import NewTopic

from benchmarks.parts import broker
from schemas.errors import ErrorClass, Stage
from schemas.failure import Failure, dead_letter_headers
from workers.core.settings import Settings

_PARTITIONS = 4
_CLASSES = tuple(ErrorClass)
_NOON_MS = 1_767_268_800_000


def main(
    letters: Annotated[int, typer.Option(min=1, help="Dead letters on the topic.")] = 100_000,
    kafka: Annotated[
        str | None, typer.Option(metavar="HOST:PORT", help="Without it, a broker is started.")
    ] = None,
) -> None:
    """Fill a topic, and look at it."""
    with broker(kafka) as bootstrap:
        sys.stdout.write(f"{orjson.dumps(measure(letters, bootstrap)).decode()}\n")


def measure(letters: int, bootstrap: str) -> dict[str, Any]:
    """The figures of so many dead letters, on a topic of their own."""
    topic = f"dlq.bench-{uuid.uuid4().hex[:8]}"
    # In a process of its own: what this one holds in memory would be the least that is measured of its children.
    filling = multiprocessing.get_context("spawn").Process(target=_fill, args=(bootstrap, topic, letters))
    filling.start()
    filling.join()
    if filling.exitcode:
        raise SystemExit("the topic could not be filled")
    with tempfile.TemporaryDirectory() as home:
        found = {name: _run(bootstrap, home, topic, arguments) for name, arguments in _commands(home)}
        (index,) = Path(home).rglob(f"{topic}.duckdb")
        return {"letters": letters, "index_bytes_a_letter": index.stat().st_size // letters, **found}


def _commands(home: str) -> Iterator[tuple[str, list[str]]]:
    yield "first", ["stats", "--by", "class"]
    yield "second", ["stats", "--by", "class"]
    yield "group", ["group"]
    yield "where_fields", ["stats", "--by", "hour", "--where", "class = 'timeout' and target = 'llm'"]
    yield "where_payload", ["stats", "--by", "source", "--where", "payload.text like '%777%'"]
    yield "peek", ["peek", "-n", "20", "--where", "class = 'schema'"]
    yield "export", ["export", "--to", f"{home}/letters.parquet"]


def _fill(bootstrap: str, topic: str, letters: int) -> None:
    admin = AdminClient({"bootstrap.servers": bootstrap})
    admin.create_topics([NewTopic(topic, _PARTITIONS, 1)])[topic].result(30)
    producer = Producer({"bootstrap.servers": bootstrap, "linger.ms": 20, "compression.type": "zstd"})
    for number in range(letters):
        while True:
            try:
                producer.produce(topic, _value(number), f"user-{number % 5000}", headers=_headers(number))
                break
            except BufferError:
                producer.poll(0.1)
    if producer.flush(120):
        raise SystemExit("the broker did not take all dead letters")


def _value(number: int) -> bytes:
    text = f"where is my order {number}, it was promised for last week"
    fields = {
        "message_id": f"req_{number}",
        "source": ("web", "app", "iot")[number % 3],
        "timestamp": 1_767_268_700,
    }
    return orjson.dumps({**fields, "payload": {"text": text, "context": {"attempt": number % 7}}})


def _headers(number: int) -> list[tuple[str, str | bytes | None]]:
    error_class = _CLASSES[number % len(_CLASSES)]
    failure = Failure(
        error_class,
        Stage.CALL,
        f"the backend answered {error_class} after {number % 90} s",
        failed_at_ms=_NOON_MS + number * 10,
        topic="model_requests.llm",
        partition=number % 4,
        offset=number,
        group="relayfleet.worker.llm",
        message_id=f"req_{number}",
        source="web",
        target=("llm", "llm_small")[number % 2],
        attempt=5,
    )
    return list(dead_letter_headers((("traceparent", b"00-%032x-%016x-01" % (number, number)),), failure))


def _run(bootstrap: str, home: str, topic: str, arguments: list[str]) -> dict[str, float]:
    command = [sys.executable, "-m", "workers", "dlq", *arguments, "--topic", topic, "--kafka", bootstrap]
    environment = {**Settings.read().environment, "RELAYFLEET_HOME": home}
    began = time.perf_counter()
    process = subprocess.Popen(command, env=environment, stdout=subprocess.DEVNULL)
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    seconds = time.perf_counter() - began
    if process.returncode:
        raise SystemExit(f"{' '.join(arguments)} ended with {process.returncode}")
    return {"seconds": round(seconds, 2), "peak_mb": round(usage.ru_maxrss / 1024)}


if __name__ == "__main__":
    typer.run(main)
