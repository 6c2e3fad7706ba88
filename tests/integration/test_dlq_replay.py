"""`relayfleet dlq replay` on a real broker: killed, resumed, by two at once."""

import asyncio
import random
import signal
from pathlib import Path

import pytest

from tests.dlq_deployment import Deployment, deploy, kill
from tests.support import eventually

LETTERS, KILLS = 4000, 4


@pytest.fixture
def deployment(kafka: str, tmp_path: Path) -> Deployment:
    return deploy(kafka, tmp_path)


async def test_a_replay_that_is_killed_again_and_again_sends_every_letter_once(
    deployment: Deployment,
) -> None:
    deployment.add(LETTERS)
    drawn = random.Random(20261123)
    options = ("replay", "--job", "night", "--rate", "2000/s")
    process = deployment.start(*options, "--yes")
    for _ in range(KILLS):
        goal = deployment.length() + drawn.randint(1, 700)
        await eventually(lambda goal=goal: deployment.length() >= goal, 30.0, interval=0.005)
        await asyncio.sleep(drawn.random() / 20)  # somewhere between two writes
        assert process.poll() is None, "it ended before it was killed"
        kill(process)
        process = deployment.start(*options, "--resume")
    assert await asyncio.to_thread(process.wait, 60) == 0
    sent = await asyncio.to_thread(deployment.sent, LETTERS)
    assert len(sent) == LETTERS
    assert [message_id for message_id, times in sent.items() if times > 1] == []
    shown = (await deployment.dlq("jobs", "show", "night", "-o", "json")).json
    assert (shown["sent"], shown["state"]) == (LETTERS, "sent")


async def test_two_operators_at_once_send_every_letter_once(deployment: Deployment) -> None:
    deployment.add(3000)
    runs = await asyncio.gather(
        deployment.dlq("replay", "--job", "ana", "--yes", "-o", "json"),
        deployment.dlq("replay", "--job", "ben", "--yes", "-o", "json", RELAYFLEET_USER="ben"),
    )
    sent = await asyncio.to_thread(deployment.sent, 3000)
    assert len(sent) == 3000
    assert set(sent.values()) == {1}
    assert sum(run.json["sent"] for run in runs) == 3000, [run.errors for run in runs]


async def test_ctrl_c_finishes_the_batch_and_says_how_to_go_on(deployment: Deployment) -> None:
    deployment.add(400)
    process = deployment.start("replay", "--job", "slow", "--rate", "20/s", "--yes")
    await asyncio.to_thread(deployment.sent, 1)
    process.send_signal(signal.SIGINT)
    assert await asyncio.to_thread(process.wait, 20) == 1
    jobs = (await deployment.dlq("jobs", "list", "-o", "json")).json["jobs"]
    assert [(job["job"], job["state"], job["who"].split("@")[0]) for job in jobs] == [
        ("slow", "paused", "ana")
    ]
    cancelled = await deployment.dlq("jobs", "cancel", "slow")
    assert cancelled.code == 0, cancelled.errors
    refused = await deployment.dlq("replay", "--job", "slow", "--resume")
    assert refused.code == 2
    assert "was cancelled" in refused.errors
