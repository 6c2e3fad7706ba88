"""Replaying requests through other routes, and every command of the guide."""

import json
import re
import shlex
from pathlib import Path

import pytest
import yaml
from typer.testing import CliRunner, Result

from tests.support import create_topic, produce, unique
from workers.commands.route import app
from workers.core.exit_codes import ExitCode

ROOT = Path(__file__).resolve().parents[2]
GUIDE = ROOT / "docs/routing.md"
LLM = {"type": "openai", "instances": [{"url": "http://127.0.0.1:1/v1"}]}


def requests(*texts: str) -> list[bytes]:
    return [
        json.dumps(
            {"message_id": f"m{number}", "source": "web", "payload": {"text": text}, "timestamp": 1}
        ).encode()
        for number, text in enumerate(texts)
    ]


def written(path: Path, kafka: str, *routes: dict[str, object]) -> str:
    targets = {"llm": LLM, "small": LLM}
    fields = {"version": 1, "kafka": {"bootstrap": kafka}, "routes": list(routes), "targets": targets}
    path.write_text(yaml.safe_dump(fields))
    return str(path)


def replay(*arguments: str) -> Result:
    return CliRunner().invoke(app, ["replay", *arguments])


def test_replay_counts_what_would_move_from_where_to_where(kafka: str, tmp_path: Path) -> None:
    topic = unique("replay")
    create_topic(kafka, topic, partitions=2)
    produce(kafka, topic, [*requests("crash", "crash again", "hello", "bye", "acme"), b"no envelope"])
    produce(kafka, topic, requests("hi"), headers=[("relay.tenant", b"acme")])
    now = written(
        tmp_path / "now.yaml",
        kafka,
        {"name": "errors", "when": {"keywords": "crash"}, "to": "llm"},
        {"name": "default", "to": "small"},
    )
    new = written(
        tmp_path / "new.yaml",
        kafka,
        {"name": "tenant", "when": {"tenant": "acme"}, "to": "llm"},
        {"name": "again", "when": {"keywords": "again"}, "to": "small"},
        {"name": "bye", "when": {"keywords": "bye"}, "to": "small"},
        {"name": "errors", "when": {"keywords": "crash"}, "to": "llm"},
        {"name": "default", "to": "small"},
    )
    done = replay(topic, "-t", new, "--current", now, "-o", "json")
    assert done.exit_code == ExitCode.DIFFERENT, done.output
    found = json.loads(done.stdout)
    assert (found["compared"], found["unreadable"]) == (6, 1)
    assert (found["moved"], found["other_rule_same_target"]) == (2, 1)
    assert {(move["from"]["rule"], move["to"]["rule"], move["messages"]) for move in found["moves"]} == {
        ("default", "tenant", 1),
        ("errors", "again", 1),
        ("default", "bye", 1),
    }
    shown = replay(topic, "-t", new, "--current", now)
    assert "2 of 6 messages would go to another target" in shown.stdout
    assert "1 could not be read" in shown.stdout
    same = replay(topic, "-t", now, "--current", now, "-n", "3", "-o", "json")
    assert same.exit_code == ExitCode.DONE
    assert json.loads(same.stdout)["compared"] + json.loads(same.stdout)["unreadable"] == 3
    assert (
        json.loads(replay(topic, "-t", new, "--current", now, "--since", "1h", "-o", "json").stdout) == found
    )
    later = replay(topic, "-t", new, "--current", now, "--since", "0s", "-o", "json")
    assert json.loads(later.stdout)["compared"] == 0
    assert replay(topic, "-t", new, "--since", "soon").exit_code == ExitCode.USAGE


def test_every_command_of_the_guide_does_what_it_says(
    kafka: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(ROOT)
    monkeypatch.setenv("KAFKA_BOOTSTRAP", kafka)
    monkeypatch.setenv("RELAYFLEET_HOME", str(tmp_path))
    topic = unique("guide")
    create_topic(kafka, topic)
    produce(kafka, topic, requests("推荐一款笔记本", "where is my parcel", "付款失败了"))
    guide = GUIDE.read_text()
    commands = re.findall(r"^relayfleet route (.+)$", guide, re.MULTILINE)
    outputs = []
    for command in commands:
        done = CliRunner().invoke(app, shlex.split(command.replace("model_requests", topic)))
        assert done.exit_code == (ExitCode.DIFFERENT if "replay" in command else ExitCode.DONE), done.output
        outputs.append(done.stdout)
    explained, envelopes, evaluated, against, replayed = outputs
    assert "intent order_status, confidence" in explained
    assert all("intent" in json.loads(line) for line in envelopes.splitlines())
    for figure in re.findall(r"0\.\d{3}", guide.partition("| on 238 test examples")[2].partition("\n\n")[0]):
        assert figure in evaluated
    assert "0 of 238 messages would go to another target" in against
    assert "of 3 messages would go to another target" in replayed
