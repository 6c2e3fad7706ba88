"""Dead letters replayed to a running fleet; and every command of the guide, in its order."""

import re
import shlex
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio

from tests.dlq_deployment import Deployment
from tests.fleet import Fleet, running_fleet

ROOT = Path(__file__).resolve().parents[2]
GUIDE = ROOT / "docs/dead-letters-replay.md"


@pytest_asyncio.fixture
async def fleet(kafka: str, tmp_path: Path) -> AsyncIterator[Fleet]:
    async with running_fleet(kafka, tmp_path, more={"kafka": {"bootstrap": kafka}}) as running:
        await running.add("worker")
        yield running


@pytest.fixture
def deployment(fleet: Fleet) -> Deployment:
    names = fleet.names
    ledger = names["requests"].removesuffix(".requests") + ".ledger"
    return Deployment(fleet.bootstrap, fleet.directory, names["dead_letters"], names["requests"], ledger)


async def test_outcomes_are_counted_and_failures_grouped_by_cause(deployment: Deployment) -> None:
    deployment.add(60)
    deployment.add_raw([b"{", b"{", b"no envelope"])
    done = await deployment.dlq("replay", "--job", "j", "--yes", "--wait", "--timeout", "90", "-o", "json")
    found = done.json
    assert done.code == 1, done.errors
    assert {key: found[key] for key in ("selected", "sent", "answered", "failed_again", "pending")} == {
        "selected": 63,
        "sent": 63,
        "answered": 60,
        "failed_again": 3,
        "pending": 0,
    }
    assert sum(found["causes"].values()) == 3
    assert all(cause.startswith("schema:") for cause in found["causes"])
    again = (await deployment.dlq("replay", "--dry-run", "-o", "json")).json
    assert again["selected"] == 3  # the letters that they became, and none of the first ones
    assert again["left_out"] == {"answered": 60, "failed_again": 3}
    settled = await deployment.dlq("purge", deployment.dead_letters, "--before", "9999")
    assert settled.code == 2
    assert "3 of these records" in settled.errors
    assert "are not settled" in settled.errors


async def test_every_command_of_the_guide_does_what_it_says(fleet: Fleet, deployment: Deployment) -> None:
    deployment.add(90)
    commands = re.findall(r"^relayfleet dlq (.+)$", GUIDE.read_text(), re.MULTILINE)
    assert len(commands) > 10
    outputs = {}
    for command in commands:
        words = shlex.split(command.replace("dlq.model_requests", deployment.dead_letters))
        done = await deployment.dlq(*words)
        assert done.code == 0, f"{command}: {done.output} {done.errors}"
        outputs[command] = done.output
    assert any("10 answered" in output for output in outputs.values())
    assert "nothing was sent; --yes sends" in outputs[commands[0]]
