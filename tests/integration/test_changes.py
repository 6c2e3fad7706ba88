"""A fleet whose topology changes while messages flow, on a real broker."""

import asyncio
import re
import shlex
import signal
from pathlib import Path
from typing import Any

import orjson
import pytest
from typer.testing import CliRunner, Result

from tests.changes import Editor, Flow, metrics_of, read_all, refused
from tests.fleet import Fleet, running_fleet
from tests.processes import ROOT, Process, free_port, get
from tests.support import consume, eventually
from workers.commands.route import app as route_commands
from workers.commands.topology import app as topology_commands
from workers.core.exit_codes import ExitCode
from workers.policies.share import Share

# A backend that stands still for seconds is waited for, not asked again nor given up.
PATIENT = {"timeout": "60s"}


def _more_targets(editor: Editor, *names: str) -> None:
    llm = editor.topology["targets"]["llm"]
    editor.topology["targets"] = {"llm": llm, **{name: {**llm} for name in names}}


async def test_nothing_is_lost_or_answered_twice_while_the_topology_changes_under_load(
    kafka: str, tmp_path: Path
) -> None:
    async with running_fleet(kafka, tmp_path, target=PATIENT, stub=("--delay-ms", "30")) as fleet:
        editor = Editor(fleet)
        _more_targets(editor, "small")
        editor.routes({"name": "v1", "to": "llm"})
        editor.write()
        await fleet.apply()
        await fleet.add("router")
        await fleet.add("worker")
        flow = Flow(fleet)
        await flow.more(300)
        await _change_everything(fleet, editor, flow)
        await flow.stop()
        history = await fleet.history()
        responses = await read_all(kafka, fleet.names["responses"], len(fleet.sent))
        assert (history.lost, history.duplicates, history.failed, history.paid_twice) == ([], 0, [], {})
        ways = {(each["route"]["rule"], each["route"]["target"]) for each in responses}
        assert ways == {("v1", "llm"), ("v2", "small"), ("v3", "extra"), ("v4", "llm")}


async def _change_everything(fleet: Fleet, editor: Editor, flow: Flow) -> None:
    """Routes there and back, a target's policy, an invalid file, a target that comes and goes."""
    first = dict(editor.topology)
    editor.routes({"name": "v2", "to": "small"})
    await editor.apply()
    await flow.more(150)
    editor.topology["targets"]["small"]["timeout"] = "50s"
    await editor.apply()
    await flow.more(150)

    editor.write("version: 1\nroutes: [{name: v9, to: nowhere}]\n")
    for process in fleet.processes_in_service():
        assert "there is no target" in await refused(process)
    await flow.more(150)
    await flow.routed_by("v2")

    _more_targets(editor, "small", "extra")
    editor.routes({"name": "v3", "to": "extra"})
    await editor.apply()
    await flow.more(300)
    await flow.routed_by("v3")
    _more_targets(editor, "small")
    editor.routes({"name": "v4", "to": "llm"})
    await editor.apply()
    await eventually(lambda: "target_left" in fleet.of("worker")[0].log.read_text(), 60.0, interval=0.2)
    await flow.more(150)
    await flow.routed_by("v4")
    editor.topology = first
    editor.routes({"name": "v1", "to": "llm"})
    await editor.apply()
    await flow.more(150)


KEYS = 400


async def test_a_canary_gets_its_share_by_key_and_a_broken_shadow_harms_nobody(
    kafka: str, tmp_path: Path
) -> None:
    async with running_fleet(kafka, tmp_path, target=PATIENT) as fleet:
        editor = Editor(fleet)
        _more_targets(editor, "new", "broken")
        broken = {"instances": [{"url": f"http://127.0.0.1:{free_port()}/v1"}], "timeout": "1s"}
        editor.topology["targets"]["broken"].update(broken)
        canary, shadow = {"to": "new", "percent": 25}, {"to": "broken", "percent": 50}
        editor.routes({"name": "default", "to": "llm", "canary": canary, "shadow": shadow})
        editor.write()
        await fleet.apply()
        await fleet.add("router")
        worker = await fleet.add("worker")
        fleet.send(2000, keys=KEYS)
        history = await fleet.history()
        assert (history.lost, history.duplicates, history.failed, history.paid_twice) == ([], 0, [], {})
        assert not history.dead_letters

        places: dict[bytes, set[str]] = {}
        for message in consume(kafka, fleet.names["responses"], 2000):
            response = orjson.loads(message.value() or b"")
            places.setdefault(message.key() or b"", set()).add(response["route"]["target"])
        chosen = {key for key, targets in places.items() if "new" in targets}
        share = Share.of("new", 25, "default", "canary")
        assert all(len(targets) == 1 for targets in places.values()), "a key went two ways"
        assert chosen == {key for key in places if share.takes(key)}
        assert len(chosen) / KEYS == pytest.approx(0.25, abs=0.06)

        explained = await eventually(lambda: explain(fleet), 60.0)
        (instance,) = explained["instances"]
        assert (explained["target"], instance["breaker"]) in {("llm", "closed"), ("new", "closed")}
        assert instance["limit"] == 64

        copies = Share.of("broken", 50, "default", "shadow")
        expected = sum(copies.takes(f"k{number % KEYS}".encode()) for number in range(2000))
        await eventually(lambda: shadows(worker) == expected, 90.0, interval=0.2)
        recorded = await read_all(kafka, f"shadow.{fleet.names['requests']}", 1)
        assert {each["route"]["shadow_of"] for each in recorded} <= {"llm", "new"}
        assert {each["status"] for each in recorded} == {"error"}


def shadows(worker: Process) -> float:
    """How many copies have come to an end."""
    counts = re.findall(r"relayfleet_shadows_total\{.*\} (\S+)", metrics_of(worker))
    return sum(map(float, counts))


async def test_a_removed_target_is_worked_for_until_nothing_is_left_or_an_operator_gives_it_up(
    kafka: str, tmp_path: Path
) -> None:
    async with running_fleet(kafka, tmp_path, target=PATIENT) as fleet:
        editor = Editor(fleet)
        _more_targets(editor, "dead")
        # Every wait is one in memory: a message on its way to a delay topic would be counted in both.
        retry = {"attempts": 100, "initial": "8s", "max": "8s", "hold_up_to": "8s"}
        dead = {"instances": [{"url": f"http://127.0.0.1:{free_port()}/v1"}], "retry": retry}
        editor.topology["targets"]["dead"].update(dead)
        editor.topology["kafka"] = {"bootstrap": kafka}
        editor.routes({"name": "default", "to": "dead"})
        editor.write()
        await fleet.apply()
        router = await fleet.add("router")
        worker = await fleet.add("worker", "--processes", "2")
        second = f"http://127.0.0.1:{(worker.health_port or 0) + 1}/readyz"
        await eventually(lambda: get(second), 60.0, interval=0.2)
        fleet.send(20, prefix="dead")
        stuck, fleet.sent = fleet.sent, []
        await read_all(kafka, f"{fleet.names['requests']}.dead", 20)  # else they went to where the others go

        _more_targets(editor)
        editor.routes({"name": "default", "to": "llm"})
        editor.write()
        for process in (router, worker):
            process.signal(signal.SIGHUP)  # the parent of two passes it on
        await eventually(lambda: worker.log.read_text().count("topology_applied") == 2, 60.0)
        await eventually(lambda: "topology_applied" in router.log.read_text(), 60.0)
        fleet.send(20, prefix="live")
        history = await fleet.history()
        assert (history.lost, history.failed) == ([], [])

        refused = await asyncio.to_thread(apply, fleet)
        assert refused.exit_code == ExitCode.FAILED
        assert "20 messages are left in its topics" in refused.stderr
        assert "target_left" not in worker.log.read_text()
        dropped = await asyncio.to_thread(apply, fleet, "--drop-work", "dead")
        assert dropped.exit_code == ExitCode.DONE, dropped.output
        await eventually(lambda: worker.log.read_text().count("target_left") == 2, 60.0)
        assert not set(stuck) & set((await fleet.history()).outcomes)

        await _follow_the_guide(fleet)


async def _follow_the_guide(fleet: Fleet) -> None:
    guide = (ROOT / "docs/operations.md").read_text()
    commands = re.findall(r"^relayfleet topology (.+)$", guide, re.MULTILINE)
    assert len(commands) == 3

    async def told(command: str) -> str:
        arguments, environment = shlex.split(command), {"RELAYFLEET_TOPOLOGY": str(fleet.topology)}
        done = await asyncio.to_thread(CliRunner().invoke, topology_commands, arguments, env=environment)
        assert done.exit_code == ExitCode.DONE, done.output
        return done.stdout

    async def all_use_it() -> bool:
        """Processes tell from time to time which version they use, and what they gave up."""
        return "is in use by all that runs" in await told(commands[-1])

    for command in commands[:-1]:
        await told(command)
    await eventually(all_use_it, 60.0)


def apply(fleet: Fleet, *arguments: str) -> Result:
    """`topology apply` of the file as it is."""
    options = ("--topology", str(fleet.topology), "--kafka", fleet.bootstrap, "--yes", *arguments)
    return CliRunner().invoke(topology_commands, ["apply", *options])


async def explain(fleet: Fleet) -> dict[str, Any]:
    """What `route explain` says, once it knows the instances as the running workers see them; empty before."""
    options = ("--topology", str(fleet.topology), "--kafka", fleet.bootstrap, "-o", "json")
    command = ["explain", "--text", "hello", *options]
    done = await asyncio.to_thread(CliRunner().invoke, route_commands, command)
    said: dict[str, Any] = orjson.loads(done.stdout)
    return said if said["instances"] else {}
