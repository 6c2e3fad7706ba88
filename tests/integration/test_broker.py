"""The embedded broker, really started, killed and started again."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.brokers import PrivateBroker
from tests.support import consume, create_topic, produce, unique
from workers.core.errors import UnreachableError
from workers.local.broker import BrokerCondition, EmbeddedBroker


def relayfleet_broker(*arguments: str) -> "subprocess.Popen[str]":
    command = [sys.executable, "-m", "workers", "broker", *arguments, "-o", "json"]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def answer(process: "subprocess.Popen[str]") -> dict[str, Any]:
    with process:
        out, err = process.communicate(timeout=100)
    assert process.returncode == 0, err
    found: dict[str, Any] = json.loads(out)
    return found


def test_messages_survive_a_killed_broker_which_keeps_its_address(restartable_kafka: PrivateBroker) -> None:
    before = restartable_kafka.bootstrap
    topic = create_topic(before, unique("kept"))
    produce(before, topic, [b"one", b"two"])
    restartable_kafka.kill()
    restartable_kafka.start()
    assert restartable_kafka.bootstrap == before
    assert [message.value() for message in consume(before, topic, 2)] == [b"one", b"two"]


def test_the_command_starts_one_broker_however_many_ask(tmp_path: Path) -> None:
    broker = EmbeddedBroker(tmp_path)
    try:
        asking = [relayfleet_broker("start", "--home", str(tmp_path)) for _ in range(2)]
        first, second = [answer(process) for process in asking]
        assert first == second
        assert first["state"] == "running"
        create_topic(first["bootstrap"], "known")
        assert answer(relayfleet_broker("status", "--home", str(tmp_path))) == first
        stopped = answer(relayfleet_broker("stop", "--home", str(tmp_path)))
        assert (stopped["state"], stopped["bootstrap"], stopped["pid"]) == ("stopped", None, None)
        assert stopped["cluster_id"] == first["cluster_id"]
    finally:
        assert broker.stop().state is BrokerCondition.STOPPED


def test_a_broker_that_cannot_start_shows_its_last_words(tmp_path: Path) -> None:
    data = tmp_path / "kafka" / "data"
    data.mkdir(parents=True)
    (data / "meta.properties").write_text("version=1\ncluster.id=x\nnode.id=99\n")
    broker = EmbeddedBroker(tmp_path)
    with pytest.raises(UnreachableError, match=r"(?s)ended while starting.*node"):
        broker.start()
    assert broker.status().state is BrokerCondition.STOPPED
