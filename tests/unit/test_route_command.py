"""`relayfleet route explain`."""

import json
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
import yaml
from typer.testing import CliRunner

from workers.commands.route import app
from workers.commands.route_moves import Moves, Place
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
        "intent": None,
        "canary": None,
        "shadow": None,
        "instances": None,
        "rules": [
            {"rule": "screens", "target": "llm", "matched": True, "why": "keyword '蓝屏' is in the text"},
            {"rule": "default", "target": "small", "matched": True, "why": "it has no conditions"},
        ],
    }


def test_a_target_that_is_named_goes_before_the_rules_and_a_wrong_one_is_explained(topology: str) -> None:
    named = ["explain", "--text", "蓝屏", "--topology", topology, "-o", "json", "--target"]
    shown = json.loads(CliRunner().invoke(app, [*named, "small"]).stdout)
    assert (shown["target"], shown["rule"]) == ("small", "named")
    assert shown["rules"][0]["why"] == "the message names this target"
    wrong = CliRunner().invoke(app, [*named, "smal"])
    assert wrong.exit_code == ExitCode.FAILED
    assert "did you mean 'small'?" in json.loads(wrong.stdout)["rules"][0]["why"]
    assert "did you mean 'small'?" in CliRunner().invoke(app, [*named[:-3], "--target", "smal"]).stdout


def test_a_message_of_a_tenant_that_may_not_use_the_target_goes_nowhere(tmp_path: Path) -> None:
    file = tmp_path / "tenants.yaml"
    file.write_text(yaml.safe_dump({**TOPOLOGY, "tenants": {"acme": {"targets": ["llm"]}}}))
    asked = ["explain", "--text", "hello", "-t", str(file)]
    assert json.loads(CliRunner().invoke(app, [*asked, "-o", "json"]).stdout)["target"] == "small"
    told = CliRunner().invoke(app, [*asked, "--tenant", "acme"])
    assert told.exit_code == ExitCode.FAILED
    assert "its tenant may not use" in " ".join(told.stdout.split())


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


def envelopes(*names: str) -> str:
    return "".join(
        json.dumps({"message_id": name, "source": "web", "payload": {"text": "x"}, "timestamp": 1}) + "\n"
        for name in names
    )


def test_a_bad_line_is_named_and_the_others_are_explained(topology: str) -> None:
    lines = envelopes("a") + "not json\n" + envelopes("b")
    result = CliRunner().invoke(app, ["explain", "-", "-t", topology, "-o", "json"], input=lines)
    assert result.exit_code == ExitCode.FAILED
    assert [json.loads(line)["message_id"] for line in result.stdout.splitlines()] == ["a", "b"]
    assert "- line 2 is no envelope" in result.stderr


def test_canary_and_shadow_are_shown_with_whether_the_key_is_among_them(tmp_path: Path) -> None:
    file = tmp_path / "topology.yaml"
    shares = {"canary": {"to": "small", "percent": 100}, "shadow": {"to": "small", "percent": 0.0001}}
    file.write_text(yaml.safe_dump({**TOPOLOGY, "routes": [{"name": "default", "to": "llm", **shares}]}))
    said = shown("explain", "--text", "hello", "-t", str(file))
    assert said["target"] == "small"
    assert said["canary"] == {"to": "small", "percent": 100.0, "taken": True}
    assert said["shadow"] == {"to": "small", "percent": 0.0001, "taken": False}
    told = CliRunner().invoke(app, ["explain", "--text", "hello", "-t", str(file)]).stdout
    assert "canary: 100 % of the keys go to small; this key is among them" in told
    assert "shadow: 0.0001 % of the keys go to small; this key is not among them" in told


@pytest.mark.parametrize("address", ["127.0.0.1:1", "nowhere.invalid:9092", "no address"])
def test_where_no_fleet_runs_instances_are_unknown_and_nothing_fails(topology: str, address: str) -> None:
    assert shown("explain", "--text", "hello", "-t", topology, "--kafka", address)["instances"] is None
    told = CliRunner().invoke(app, ["explain", "--text", "hello", "-t", topology, "--kafka", address])
    assert "instances of small: unknown, no worker tells how they stand" in told.stdout


def test_a_pattern_is_shown_as_it_is_written(tmp_path: Path) -> None:
    file = tmp_path / "topology.yaml"
    routes = [
        {"name": "order", "when": {"pattern": r"\d{6}"}, "to": "llm"},
        {"name": "default", "to": "small"},
    ]
    file.write_text(yaml.safe_dump({**TOPOLOGY, "routes": routes}))
    told = CliRunner().invoke(app, ["explain", "--text", "order 123456", "-t", str(file)]).stdout
    assert r"pattern '\d{6}' is found" in told


INTENTS = {
    "order": {"examples": ["where is my parcel", "我的快递到哪了", "parcel not delivered", "快递没到"]},
    "refund": {"examples": ["i want my money back", "我要退款", "refund please", "退款没到账"]},
    "unknown": {"examples": ["hello", "你好", "tell me a joke", "讲个笑话"]},
}
RULES = [
    {"name": "money", "when": {"intent": "refund"}, "to": "llm"},
    {"name": "default", "to": "small"},
]


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("RELAYFLEET_HOME", str(tmp_path / "home"))
    return tmp_path / "home"


def written(path: Path, **changes: Any) -> str:
    fields = {**TOPOLOGY, "intents": INTENTS, "routes": RULES, **changes}
    path.write_text(yaml.safe_dump(fields, allow_unicode=True))
    return str(path)


def shown(*arguments: str, expect: ExitCode = ExitCode.DONE) -> dict[str, Any]:
    result = CliRunner().invoke(app, [*arguments, "-o", "json"])
    assert result.exit_code == expect, result.output
    parsed: dict[str, Any] = json.loads(result.stdout)
    return parsed


def test_an_intent_is_shown_with_its_confidence_and_learnt_once(tmp_path: Path, home: Path) -> None:
    file = written(tmp_path / "intents.yaml")
    first = shown("explain", "--text", "退款怎么还没到", "-t", file)
    assert (first["rule"], first["target"], first["intent"]["name"]) == ("money", "llm", "refund")
    assert first["confidence"] == first["intent"]["confidence"] > 0.5
    assert first["rules"][0]["why"] == f"intent is refund with confidence {first['confidence']:.2f}"
    (kept,) = (home / "intents").iterdir()
    stamp = kept.stat().st_mtime_ns
    assert shown("explain", "--text", "退款怎么还没到", "-t", file) == first
    assert kept.stat().st_mtime_ns == stamp


def test_a_kept_model_that_is_damaged_is_learnt_again(tmp_path: Path, home: Path) -> None:
    file = written(tmp_path / "intents.yaml")
    first = shown("explain", "--text", "退款", "-t", file)
    (kept,) = (home / "intents").iterdir()
    whole = kept.read_bytes()
    for damaged in (b"", b"garbage", whole[: len(whole) // 2], whole.replace(b"weights", b"weighty")):
        kept.write_bytes(damaged)
        assert shown("explain", "--text", "退款", "-t", file) == first
        assert kept.read_bytes() == whole


def test_evaluate_counts_and_tells_what_another_file_would_change(tmp_path: Path, home: Path) -> None:
    examples = [
        ("退款什么时候到", "refund"),
        ("parcel where", "order"),
        ("hello you", "unknown"),
        ("快递", "refund"),
    ]
    file = tmp_path / "examples.jsonl"
    file.write_text("\n".join(json.dumps({"text": text, "intent": intent}) for text, intent in examples))
    now = written(tmp_path / "now.yaml")
    new = written(tmp_path / "new.yaml", routes=[{"name": "all", "to": "small"}])
    judged = shown("evaluate", str(file), "-t", now, "--against", new)
    assert judged["examples"] == 4
    assert judged["accuracy"] == 0.75
    assert judged["intents"]["refund"] == {"precision": 1.0, "recall": 0.5, "examples": 2}
    assert {"labelled": "refund", "said": "order", "examples": 1} in judged["confusion"]
    assert judged["against"]["compared"] == 4
    assert judged["against"]["moved"] == 1
    assert judged["against"]["moves"] == [
        {
            "from": {"rule": "default", "target": "small"},
            "to": {"rule": "all", "target": "small"},
            "messages": 3,
        },
        {"from": {"rule": "money", "target": "llm"}, "to": {"rule": "all", "target": "small"}, "messages": 1},
    ]
    table = CliRunner().invoke(app, ["evaluate", str(file), "-t", now, "--against", new])
    assert "keywords alone" in table.stdout
    assert "1 of 4 messages would go to another target, 3 would take another rule" in table.stdout
    assert "退款什么时候到" not in table.stdout


def test_moves_of_as_many_messages_have_one_order_whichever_is_read_first() -> None:
    pairs: list[tuple[Place, Place]] = [
        (("a", "llm"), ("b", "small")),
        (("a", "llm"), (None, None)),
        (("b", "llm"), ("a", "llm")),
    ]
    shown = [Moves(3, Counter(order)).as_json() for order in (pairs, pairs[::-1])]
    assert shown[0] == shown[1]


@pytest.mark.parametrize("lines", ["", "[]\n", '{"text": "x"}\n', "not json\n"])
def test_what_is_no_example_is_wrong_usage(tmp_path: Path, home: Path, lines: str) -> None:
    file = tmp_path / "examples.jsonl"
    file.write_text(lines)
    arguments = ["evaluate", str(file), "-t", written(tmp_path / "t.yaml")]
    assert CliRunner().invoke(app, arguments).exit_code == ExitCode.USAGE


def test_without_intents_there_is_nothing_to_evaluate(topology: str, tmp_path: Path) -> None:
    file = tmp_path / "examples.jsonl"
    file.write_text('{"text": "a", "intent": "b"}\n')
    result = CliRunner().invoke(app, ["evaluate", str(file), "-t", topology])
    assert result.exit_code == ExitCode.USAGE
    assert "has no `intents`" in result.output
