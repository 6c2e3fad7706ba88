"""`relayfleet route explain`."""

import json
from pathlib import Path

import pytest
import yaml
from typer.testing import CliRunner

from workers.commands.route import app
from workers.core.exit_codes import ExitCode

LLM = {"type": "openai", "instances": [{"url": "http://127.0.0.1:1/v1"}]}
TOPOLOGY = {
    "version": 1,
    "routes": [
        {"name": "screens", "when": {"keywords": ["蓝屏"]}, "to": "llm"},
        {"name": "default", "to": "small"},
    ],
    "targets": {"llm": LLM, "small": LLM},
}


@pytest.fixture
def topology(tmp_path: Path) -> str:
    path = tmp_path / "topology.yaml"
    path.write_text(yaml.safe_dump(TOPOLOGY, allow_unicode=True))
    return str(path)


def test_json_says_target_rule_confidence_and_why_each_rule_matched(topology: str) -> None:
    result = CliRunner().invoke(
        app, ["explain", "--text", "电脑蓝屏了", "--topology", topology, "-o", "json"]
    )
    assert result.exit_code == ExitCode.DONE, result.output
    assert json.loads(result.stdout) == {
        "message_id": "explain",
        "target": "llm",
        "rule": "screens",
        "confidence": 1.0,
        "rules": [
            {"rule": "screens", "target": "llm", "matched": True, "why": "keyword '蓝屏' is in the text"},
            {"rule": "default", "target": "small", "matched": True, "why": "it has no conditions"},
        ],
    }


def test_envelopes_come_from_standard_input_one_a_line(topology: str) -> None:
    lines = "".join(
        json.dumps({"message_id": name, "source": "web", "payload": {"text": text}, "timestamp": 1}) + "\n"
        for name, text in (("a", "蓝屏"), ("b", "hello"))
    )
    result = CliRunner().invoke(app, ["explain", "-", "--topology", topology, "-o", "json"], input=lines)
    shown = [json.loads(line) for line in result.stdout.splitlines()]
    assert [(each["message_id"], each["target"]) for each in shown] == [("a", "llm"), ("b", "small")]


def test_a_table_marks_the_rule_that_was_taken(topology: str) -> None:
    result = CliRunner().invoke(app, ["explain", "--text", "hello", "--topology", topology])
    assert "goes to small (rule default)" in result.stdout
    assert "none of 1 keyword is in the text" in result.stdout


@pytest.mark.parametrize(
    ("arguments", "given"), [(["-"], "not json\n"), (["-"], ""), (["no-such-file"], None), ([], None)]
)
def test_what_is_no_envelope_is_wrong_usage(topology: str, arguments: list[str], given: str | None) -> None:
    result = CliRunner().invoke(app, ["explain", *arguments, "--topology", topology], input=given)
    assert result.exit_code == ExitCode.USAGE
