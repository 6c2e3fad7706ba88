"""A topology that follows its file: taken over whole or not at all."""

import asyncio
import os
from pathlib import Path
from textwrap import dedent

import pytest
import structlog

from tests.support import eventually
from tests.unit.topology.support import MINIMAL
from workers.core.errors import NotYetError, UsageError
from workers.core.metrics import TOPOLOGY, TOPOLOGY_BEHIND, TOPOLOGY_CHANGES, Metrics
from workers.core.topology.live import Commit, LiveTopology, Version
from workers.core.topology.model import Topology
from workers.core.topology.problems import TopologyError

SECOND = MINIMAL.replace("name: default", "name: other")


class Follower:
    """A part of a process that follows: what it was given, and what it says to it."""

    def __init__(self) -> None:
        self.taken: list[Version] = []
        self.objection: Exception | None = None

    async def prepare(self, new: Version) -> Commit:
        if self.objection is not None:
            raise self.objection

        async def commit() -> None:
            self.taken.append(new)

        return commit


class Deployment:
    """A file, what follows it, and its metrics."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.write(MINIMAL)
        self.live = LiveTopology(path, {"KEY": "sk-1"})
        self.metrics = Metrics()
        self.live.show(self.metrics)
        self.follower = Follower()
        self.live.subscribe(self.follower.prepare)

    def write(self, text: str) -> None:
        self.path.write_text(dedent(text))

    async def look(self) -> None:
        """As often as it takes for a change to count."""
        await self.live.look()
        await self.live.look()

    def behind(self, why: str) -> float:
        return float(self.metrics.gauge(TOPOLOGY_BEHIND, why)._value.get())

    def changes(self, result: str) -> float:
        return float(self.metrics.counter(TOPOLOGY_CHANGES, result)._value.get())


@pytest.fixture
def deployment(tmp_path: Path) -> Deployment:
    return Deployment(tmp_path / "topology.yaml")


async def test_a_changed_file_is_taken_over_once_it_is_the_same_for_two_looks(deployment: Deployment) -> None:
    before = deployment.live.current
    deployment.write(SECOND)
    await deployment.live.look()
    assert deployment.live.current is before
    await deployment.live.look()
    await deployment.look()
    assert [route.name for route in deployment.live.current.topology.routes] == ["other"]
    assert [version.name for version in deployment.follower.taken] == [deployment.live.current.name]
    assert deployment.metrics.gauge(TOPOLOGY, before.name)._value.get() == 0
    assert deployment.metrics.gauge(TOPOLOGY, deployment.live.current.name)._value.get() == 1
    assert deployment.changes("applied") == 1


async def test_a_half_written_file_is_not_even_read(deployment: Deployment) -> None:
    deployment.write("version: 1\nroutes: [")
    await deployment.live.look()
    deployment.write(SECOND)
    await deployment.look()
    assert deployment.follower.taken
    assert deployment.changes("refused") == 0


async def test_an_invalid_file_is_refused_with_its_problems_and_the_running_one_stays(
    deployment: Deployment,
) -> None:
    before = deployment.live.current
    deployment.write(MINIMAL.replace("to: llm", "to: llmm"))
    with structlog.testing.capture_logs() as logs:
        await deployment.look()
        await deployment.look()
    assert deployment.live.current is before
    assert not deployment.follower.taken
    assert [entry["event"] for entry in logs] == ["topology_refused"]
    fact = deployment.live.fact()
    assert fact.ok, "a file that nobody took must take nothing out of service"
    assert "there is no target 'llmm'" in fact.why
    assert "topology.yaml:3" in fact.why
    assert (deployment.behind("refused"), deployment.changes("refused")) == (1, 1)


async def test_the_previous_file_rolls_back(deployment: Deployment) -> None:
    first = deployment.live.current.name
    for text in (SECOND, "nonsense", MINIMAL):
        deployment.write(text)
        await deployment.look()
    assert deployment.live.current.name == first
    assert deployment.follower.taken[-1].name == first
    assert deployment.behind("refused") == 0


async def test_a_refused_file_that_is_put_back_changes_nothing(deployment: Deployment) -> None:
    for text in ("nonsense", MINIMAL):
        deployment.write(text)
        await deployment.look()
    assert not deployment.follower.taken
    assert deployment.behind("refused") == 0


async def test_what_waits_is_asked_again_until_it_can_be_taken(deployment: Deployment) -> None:
    deployment.follower.objection = NotYetError("nobody reads the topic of new")
    deployment.write(SECOND)
    await deployment.look()
    assert deployment.behind("waiting") == 1
    assert "nobody reads the topic of new" in deployment.live.fact().why
    deployment.follower.objection = None
    await deployment.live.look()
    assert len(deployment.follower.taken) == 1
    assert deployment.behind("waiting") == 0


async def test_a_change_that_waits_is_given_up_when_the_file_is_put_back(deployment: Deployment) -> None:
    deployment.follower.objection = NotYetError("no topic")
    deployment.write(SECOND)
    await deployment.look()
    deployment.write(MINIMAL)
    await deployment.look()
    deployment.follower.objection = None
    await deployment.look()
    assert not deployment.follower.taken


@pytest.mark.parametrize("objection", [UsageError("it can't be"), ValueError("a bug of ours")])
async def test_nobody_changes_where_one_part_of_the_process_refuses(
    deployment: Deployment, objection: Exception
) -> None:
    second = Follower()
    second.objection = objection
    deployment.live.subscribe(second.prepare)
    deployment.write(SECOND)
    await deployment.look()
    assert not deployment.follower.taken
    assert deployment.behind("refused") == 1


async def test_what_needs_a_restart_is_said_and_the_rest_is_taken(deployment: Deployment) -> None:
    deployment.write(SECOND + 'kafka: {bootstrap: "other:9092"}\n')
    await deployment.look()
    taken = deployment.follower.taken[0].topology
    assert taken.routes[0].name == "other"
    assert taken.kafka.bootstrap == "embedded"
    assert deployment.behind("restart") == 1
    assert "a restart is needed for kafka.bootstrap" in deployment.live.fact().why
    deployment.write(SECOND)
    await deployment.look()
    assert deployment.behind("restart") == 0


async def test_what_one_kind_of_process_reads_once_needs_its_restart_alone(tmp_path: Path) -> None:
    path = tmp_path / "topology.yaml"
    path.write_text(MINIMAL)
    gateway, worker = LiveTopology(path, {}, once=frozenset({"gateway"})), LiveTopology(path, {})
    path.write_text(MINIMAL + "gateway: {port: 9999}\n")
    for live in (gateway, worker):
        await live.look()
        await live.look()
    assert "a restart is needed for gateway.port" in gateway.fact().why
    assert gateway.current.topology.gateway.port == 8080
    assert "restart" not in worker.fact().why


async def test_a_file_that_it_refers_to_is_followed_too(tmp_path: Path) -> None:
    (tmp_path / "model").write_text("small")
    deployment = Deployment(tmp_path / "topology.yaml")
    deployment.write(MINIMAL + '    model: "${file:model}"\n')
    await deployment.look()
    (tmp_path / "model").write_text("large")
    await deployment.look()
    assert [_model(version.topology) for version in deployment.follower.taken] == ["small", "large"]


def _model(topology: Topology) -> object:
    return topology.targets["llm"].model_dump()["model"]


async def test_a_file_moved_into_its_place_is_noticed_though_its_time_and_size_are_the_same(
    deployment: Deployment, tmp_path: Path
) -> None:
    moved = tmp_path / "moved.yaml"
    moved.write_text(dedent(SECOND.replace("other", "seconds")))
    deployment.write(MINIMAL)
    stat = deployment.path.stat()
    os.utime(moved, ns=(stat.st_atime_ns, stat.st_mtime_ns))
    moved.replace(deployment.path)
    await deployment.look()
    assert deployment.follower.taken


async def test_a_name_says_what_the_file_says_and_nothing_of_its_secrets(tmp_path: Path) -> None:
    def name(text: str, key: str) -> str:
        path = tmp_path / "topology.yaml"
        path.write_text(text)
        return LiveTopology(path, {"KEY": key}).current.name

    secret = MINIMAL.replace('/v1"}', '/v1", api_key: "${KEY}"}')
    assert name(MINIMAL, "") == name("# a comment\n" + MINIMAL, "")
    assert name(MINIMAL, "") != name(SECOND, "")
    assert name(secret, "sk-1") == name(secret, "sk-2")


async def test_asked_it_looks_at_once(deployment: Deployment) -> None:
    deployment.write(SECOND)
    watching = asyncio.create_task(deployment.live.watch(every=3600))
    deployment.live.look_now()
    await eventually(lambda: deployment.follower.taken)
    watching.cancel()


def test_a_process_does_not_start_with_a_file_that_is_wrong(tmp_path: Path) -> None:
    with pytest.raises(TopologyError):
        LiveTopology(tmp_path / "missing.yaml", {})
