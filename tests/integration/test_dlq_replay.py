"""`relayfleet dlq replay` on a real broker: killed, resumed, by two at once."""

import asyncio
import random
import signal
from functools import partial
from pathlib import Path

import pytest

from dlq_tools.ledger_records import JOB, Job, read_value, write_value
from tests.dlq_deployment import Deployment, deploy, kill
from tests.dlq_families import FAMILIES
from tests.support import eventually, produce


@pytest.fixture
def deployment(kafka: str, tmp_path: Path) -> Deployment:
    return deploy(kafka, tmp_path)


@pytest.mark.parametrize(
    ("letters", "kills", "rate"),
    [
        pytest.param(3000, 3, 100, id="3,000"),
        pytest.param(50_000, 10, 1000, marks=[pytest.mark.long, pytest.mark.timeout(600)], id="50,000"),
    ],
)
async def test_a_replay_that_is_killed_again_and_again_sends_every_letter_once(
    deployment: Deployment, letters: int, kills: int, rate: int
) -> None:
    """Letters of five families of headers and of several causes.

    It is killed half a second's letters after a start, or sooner, and all of them last for many times as long.
    """
    await asyncio.to_thread(deployment.add_families, letters)
    drawn = random.Random(20261123)
    options = ("replay", "--job", "night", "--rate", f"{rate}/s")
    process = deployment.start(*options, "--yes")
    for left in reversed(range(kills)):
        goal = deployment.length() + drawn.randint(1, rate // 2)
        await eventually(partial(_has_come_to, deployment, goal), 60.0, interval=0.005)
        await asyncio.sleep(drawn.random() / 20)  # somewhere between two writes
        assert process.poll() is None, "it ended before it was killed"
        kill(process)
        if not left:
            _at_full_speed(deployment, "night")
        process = deployment.start(*options, "--resume")
    assert await asyncio.to_thread(process.wait, 300) == 0
    sent = await asyncio.to_thread(deployment.sent, letters)
    assert len(sent) == letters
    assert [message_id for message_id, times in sent.items() if times > 1] == []
    shown = (await deployment.dlq("jobs", "show", "night", "-o", "json")).json
    assert (shown["sent"], shown["state"]) == (letters, "sent")
    states = (await deployment.dlq("stats", "--by", "family,state", "-o", "json")).json["rows"]
    assert {(row["family"], row["state"]): row["count"] for row in states} == {
        (family, "replayed"): letters // len(FAMILIES) for family in FAMILIES
    }


def _at_full_speed(deployment: Deployment, name: str) -> None:
    """Take the rate off a job: its last run need not be as slow as those that are killed."""
    key = f"{JOB}{name}"
    *_, said = (each for each in deployment.records(1, deployment.ledger) if each.key() == key.encode())
    job = read_value(key, said.value() or b"")
    assert isinstance(job, Job)
    quick = job.model_copy(update={"spec": job.spec.model_copy(update={"rate": None})})
    produce(deployment.bootstrap, deployment.ledger, [write_value(quick)], key=key.encode(), partition=0)


def _has_come_to(deployment: Deployment, goal: int) -> bool:
    return deployment.length() >= goal


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
    process = deployment.start("replay", "--job", "slow", "--rate", "1/s", "--yes")
    await asyncio.to_thread(deployment.sent, 1)
    process.send_signal(signal.SIGINT)
    assert await asyncio.to_thread(process.wait, 60) == 1
    jobs = (await deployment.dlq("jobs", "list", "-o", "json")).json["jobs"]
    assert [(job["job"], job["state"], job["who"].split("@")[0]) for job in jobs] == [
        ("slow", "paused", "ana")
    ]
    cancelled = await deployment.dlq("jobs", "cancel", "slow")
    assert cancelled.code == 0, cancelled.errors
    refused = await deployment.dlq("replay", "--job", "slow", "--resume")
    assert refused.code == 2
    assert "was cancelled" in refused.errors


async def test_a_change_that_raises_names_its_message_and_sends_nothing(
    deployment: Deployment, tmp_path: Path
) -> None:
    deployment.add(30)
    file = tmp_path / "change.py"
    file.write_text(
        "def transform(envelope):\n    return envelope if envelope['message_id'] != 'm-22' else 1 / 0\n"
    )
    failed = await deployment.dlq("replay", "--transform", str(file), "--yes")
    assert failed.code == 2
    assert "m-22" in failed.errors
    assert "ZeroDivisionError" in failed.errors
    assert deployment.length() == 0


async def test_an_edited_copy_is_what_is_replayed(deployment: Deployment, tmp_path: Path) -> None:
    produce(
        deployment.bootstrap, deployment.dead_letters, [b'{"message_id": "e-1", "payload": {}}'], partition=0
    )
    position = f"{deployment.dead_letters}:0:0"
    editor = tmp_path / "editor"
    editor.write_text(
        '#!/bin/sh\nprintf \'{"message_id":"e-1","source":"web","payload":{"text":"hi"},"timestamp":1}\' > "$1"\n'
    )
    editor.chmod(0o755)
    kept = await deployment.dlq("edit", position, "--yes", EDITOR=str(editor))
    assert kept.code == 0, kept.errors
    assert '+  "source": "web",' in kept.output
    done = await deployment.dlq("replay", position, "--to", "llm", "-o", "json")
    assert done.json["sent"] == 1, done
    [replayed] = deployment.records(1)
    assert b'"text":"hi"' in (replayed.value() or b"")
    [original] = deployment.records(1, deployment.dead_letters)
    assert original.value() == b'{"message_id": "e-1", "payload": {}}'


async def test_what_is_no_envelope_after_an_edit_is_not_kept(deployment: Deployment) -> None:
    produce(deployment.bootstrap, deployment.dead_letters, [b'{"message_id": "e-1"}'], partition=0)
    refused = await deployment.dlq(
        "edit", f"{deployment.dead_letters}:0:0", "--set", "timestamp=never", "--yes"
    )
    assert refused.code == 2
    assert "timestamp" in refused.errors


async def test_a_purge_wants_the_topics_name_and_deletes_only_what_is_settled(deployment: Deployment) -> None:
    deployment.add(30)
    topic = deployment.dead_letters
    refused = await deployment.dlq("purge", topic, "--before", "5", "--confirm", topic)
    assert refused.code == 2
    assert "not settled" in refused.errors
    done = await deployment.dlq("discard", "--reason", "test", "--yes", "-o", "json")
    assert done.json == {"selected": 30, "discarded": 30, "left_out": {}}
    unnamed = await deployment.dlq("purge", topic, "--before", "5")
    assert unnamed.code == 2
    assert "nothing was deleted" in unnamed.errors
    purged = await deployment.dlq("purge", topic, "--before", "5", "--confirm", topic, "-o", "json")
    assert purged.code == 0, purged.errors
    assert purged.json["deleted"] > 0
    assert deployment.length(topic) == 30 - purged.json["deleted"]


async def test_what_leads_nowhere_is_said_before_anything_is_sent(deployment: Deployment) -> None:
    deployment.add(3, first=2, target="gone")
    gone = await deployment.dlq("replay", "--yes")
    assert gone.code == 2
    assert "target 'gone' is not in the topology any more" in gone.errors
    nowhere = await deployment.dlq("replay", "--to", "nowhere", "--yes")
    assert nowhere.code == 2
    assert "neither a target (there are llm) nor a topic" in nowhere.errors
    missing = await deployment.dlq("replay", "--topic", "dlq.missing", "--yes")
    assert missing.code == 2
    assert "dlq.missing" in missing.errors
    where = await deployment.dlq("replay", "--where", "class = ", "--yes")
    assert where.code == 2
    assert "--where" in where.errors
