"""Changing the topology of a running fleet, and knowing when each process has it."""

import asyncio
import re
from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

import orjson
import yaml
from confluent_kafka import Producer

from tests.fleet import Fleet
from tests.processes import Process, get
from tests.support import eventually, reading
from workers.core.clock import SystemClock
from workers.core.topology.live import version_name
from workers.core.topology.load import load_topology

_IN_USE = re.compile(r'relayfleet_topology_info\{version="(\w+)"\} 1\.0')
_BEHIND = re.compile(r'relayfleet_topology_behind\{why="(\w+)"\} 1\.0')


def metrics_of(process: Process) -> str:
    """What a process says at `/metrics`."""
    return (get(f"http://127.0.0.1:{process.health_port}/metrics") or b"").decode()


def in_use(process: Process) -> str | None:
    """The version that a process uses."""
    found = _IN_USE.search(metrics_of(process))
    return found[1] if found else None


def behind(process: Process) -> str | None:
    """Why a process uses another version than its file has; None where it does not."""
    found = _BEHIND.search(metrics_of(process))
    return found[1] if found else None


def _uses(process: Process, version: str) -> bool:
    return in_use(process) == version


async def refused(process: Process) -> str:
    """Wait until a process has refused the file; what `/readyz` says then."""
    await eventually(lambda: behind(process) == "refused", 60.0)
    said = await eventually(lambda: get(f"http://127.0.0.1:{process.health_port}/readyz"), 60.0)
    return (said or b"").decode()


class Editor:
    """Changes a fleet's topology file as people do."""

    def __init__(self, fleet: Fleet) -> None:
        self._fleet = fleet
        self.topology: dict[str, Any] = yaml.safe_load(fleet.topology.read_text())

    def routes(self, *routes: Mapping[str, Any]) -> None:
        """These are the routes from now on; nothing is written."""
        self.topology["routes"] = list(routes)

    def write(self, text: str | None = None) -> None:
        """Save the file, or what else should stand in it."""
        self._fleet.topology.write_text(text or yaml.safe_dump(self.topology, allow_unicode=True))

    async def apply(self, processes: Sequence[Process] | None = None, within: float = 60.0) -> str:
        """Save it and wait until every process uses it. Returns the name of the version."""
        self.write()
        name = version_name(load_topology(self._fleet.topology, {}))
        running = processes or self._fleet.processes_in_service()
        for process in running:
            await eventually(partial(_uses, process, name), within, interval=0.1)
        return name


class Flow:
    """Messages that keep coming until they are told to stop."""

    def __init__(self, fleet: Fleet, rate: float = 300.0) -> None:
        self._fleet = fleet
        self._rate = rate
        self._answers = reading(fleet.bootstrap, fleet.names["responses"])
        self._rules: set[str] = set()
        self._task = asyncio.create_task(self._run())
        self._stopping = False

    async def stop(self) -> None:
        """Send no more; returns when the broker has them all."""
        self._stopping = True
        await self._task
        self._answers.close()

    async def more(self, count: int) -> None:
        """Wait until so many more were sent."""
        until = len(self._fleet.sent) + count
        await eventually(lambda: len(self._fleet.sent) >= until, 60.0, interval=0.05)

    async def routed_by(self, rule: str) -> None:
        """Wait until a message that this rule sent on is answered."""
        await eventually(lambda: self._has_routed(rule), 60.0, interval=0.05)

    def _has_routed(self, rule: str) -> bool:
        answers = self._answers.consume(5000, timeout=0.0)
        self._rules |= {orjson.loads(each.value() or b"{}")["route"]["rule"] for each in answers}
        return rule in self._rules

    async def _run(self) -> None:
        producer = Producer({"bootstrap.servers": self._fleet.bootstrap, "enable.idempotence": True})
        while not self._stopping:
            for _ in range(round(self._rate / 20)):
                number = len(self._fleet.sent)
                message = envelope(f"f-{number:06d}")
                producer.produce(self._fleet.names["requests"], message, f"k{number % 50}".encode())
                self._fleet.sent.append(f"f-{number:06d}")
            producer.poll(0)
            await asyncio.sleep(0.05)  # the pace of the load, which nothing waits for
        assert await asyncio.to_thread(producer.flush, 60) == 0


def envelope(message_id: str, **payload: Any) -> bytes:
    """A request."""
    body = {"text": "推荐一款笔记本电脑", **payload}
    return orjson.dumps(
        {"message_id": message_id, "source": "flow", "payload": body, "timestamp": SystemClock().wall()}
    )


async def read_all(bootstrap: str, topic: str, count: int, within: float = 60.0) -> list[dict[str, Any]]:
    """The values of a topic, once there are so many."""
    consumer = reading(bootstrap, topic)
    found: list[dict[str, Any]] = []

    def enough() -> bool:
        found.extend(
            orjson.loads(message.value() or b"{}") for message in consumer.consume(5000, timeout=0.2)
        )
        return len(found) >= count

    try:
        await eventually(enough, within)
    finally:
        consumer.close()
    return found
