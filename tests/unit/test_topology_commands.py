"""`relayfleet topology …`, on a Kafka in memory."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import orjson
import pytest
from typer.testing import CliRunner, Result

from tests.unit.topology.support import MINIMAL, SQL
from tests.unit.topology.test_load import ROOT
from workers import assembly
from workers.commands.topology import app
from workers.core.exit_codes import ExitCode
from workers.core.ports import Admin, TopicState
from workers.core.topology.load import load_topology
from workers.core.topology.topics import wanted_topics
from workers.kafka.memory import MemoryBroker


@pytest.fixture
def broker(monkeypatch: pytest.MonkeyPatch) -> MemoryBroker:
    """The Kafka that the commands find, whatever address they are given."""
    broker = MemoryBroker()

    @asynccontextmanager
    async def open_admin(*_: object) -> AsyncIterator[Admin]:
        yield broker.admin()

    for place in (assembly, assembly.board):
        monkeypatch.setattr(place, "open_admin", open_admin)
    return broker


@pytest.fixture
def file(tmp_path: Path) -> Path:
    file = tmp_path / "topology.yaml"
    file.write_text(MINIMAL)
    return file


def call(*arguments: object, **environment: str) -> Result:
    return CliRunner().invoke(app, [str(each) for each in arguments], env={"COLUMNS": "200", **environment})


def json_of(result: Result) -> Any:
    assert result.stdout.count("\n") == 1, "one JSON object on one line, and nothing else"
    return orjson.loads(result.stdout)


def test_a_good_file_is_valid(file: Path) -> None:
    result = call("validate", "-t", file)

    assert result.exit_code == ExitCode.DONE
    assert result.stdout == f"{file}: valid, 1 routes, 1 targets, 11 topics\n"


def test_a_bad_file_is_refused_with_a_line_a_problem(file: Path) -> None:
    file.write_text(MINIMAL + "    retyr: {}\n    timeout: soon\n")

    result = call("validate", "-t", file)

    assert result.exit_code == ExitCode.USAGE
    assert result.stdout == ""
    assert result.stderr.splitlines() == [
        f"{file}:8:5: targets.llm.retyr: unknown key; did you mean 'retry'?",
        f"{file}:9:14: targets.llm.timeout: 'soon' is not a duration; write a number and a unit: 250ms, 30s, 5m, 2h, 7d",
        "2 problems",
    ]


def test_problems_are_there_for_scripts_too(file: Path) -> None:
    file.write_text(MINIMAL + "    retyr: {}\n")

    result = call("validate", "-t", file, "-o", "json")

    assert result.exit_code == ExitCode.USAGE
    assert json_of(result) == {
        "valid": False,
        "file": str(file),
        "problems": [
            {
                "file": str(file),
                "line": 8,
                "column": 5,
                "field": "targets.llm.retyr",
                "message": "unknown key",
                "suggestion": "did you mean 'retry'?",
            }
        ],
    }


@pytest.mark.parametrize("command", ["show", "diff", "apply"])
def test_no_command_works_on_a_bad_file(broker: MemoryBroker, file: Path, command: str) -> None:
    file.write_text("version: 1\n")

    result = call(command, "-t", file)

    assert (result.exit_code, result.stdout) == (ExitCode.USAGE, "")
    assert f"{file}:1:1: targets: is missing" in result.stderr
    assert broker.states == {}


def test_the_file_may_come_from_the_environment(file: Path) -> None:
    assert call("validate", RELAYFLEET_TOPOLOGY=str(file)).exit_code == ExitCode.DONE


@pytest.mark.parametrize(
    "text",
    [
        SQL.replace("= :order_id", "= :order_id -- ${A:-b}"),
        MINIMAL + "    retry: {max: 5s, initial: 250ms}\n    expires_after: 10s\n",
        (ROOT / "topology.yaml").read_text(),
        (ROOT / "examples" / "topologies" / "two-models.yaml").read_text(),
    ],
)
def test_what_is_shown_can_be_read_again(file: Path, tmp_path: Path, text: str) -> None:
    file.write_text(text)
    shown = tmp_path / "shown.yaml"

    shown.write_text(call("show", "-t", file).stdout)

    assert load_topology(shown, {}) == load_topology(file, {})


def test_secrets_are_masked_where_shown(file: Path) -> None:
    file.write_text(
        MINIMAL.replace('/v1"', '/v1", api_key: "${KEY}"')
        + "    parameters: {auth: {api_key: '${KEY}'}, max_tokens: 9}\n"
        + SQL.partition("targets:\n")[2].replace(
            "sqlite:///orders.db", "postgresql://u:${KEY}@h/d?password=${KEY}"
        )
    )

    for output in ("table", "json"):
        result = call("show", "-t", file, "-o", output, KEY="p4ss-w0rd")
        assert result.exit_code == ExitCode.DONE, result.stderr
        assert "p4ss" not in result.stdout + result.stderr
        assert "postgresql://u:***@h/d?password=***" in result.stdout


def test_show_has_the_topics(file: Path) -> None:
    shown = json_of(call("show", "-t", file, "-o", "json"))

    assert [topic["name"] for topic in shown["topics"]][:2] == ["model_requests", "model_requests.llm"]
    assert shown["topology"]["targets"]["llm"]["timeout"] == "30s"


def test_a_difference_exits_3_and_none_exits_0(broker: MemoryBroker, file: Path) -> None:
    missing = call("diff", "-t", file, "-o", "json")
    for topic in wanted_topics(load_topology(file, {})):
        broker.create(topic)
    same = call("diff", "-t", file, "-o", "json")

    assert missing.exit_code == ExitCode.DIFFERENT
    assert [action["action"] for action in json_of(missing)["actions"]] == ["create"] * 11
    assert same.exit_code == ExitCode.DONE
    assert json_of(same) == {"differs": False, "actions": [], "refused": [], "unknown": []}


def test_a_difference_is_shown_a_line_each(broker: MemoryBroker, file: Path) -> None:
    broker.create(TopicState("model_requests", 2, 1, {"retention.ms": "-1"}))
    broker.create(TopicState("model_requests.gone", 1, 1, {}))

    text = call("diff", "-t", file).stdout

    assert "~ grow      model_requests" in text
    assert "partitions 2 -> 4" in text
    assert "retention.ms is -1, 604800000 is wanted, and that would delete records" in text
    assert "model_requests.gone" in text


def test_apply_creates_and_then_has_nothing_to_do(broker: MemoryBroker, file: Path) -> None:
    first = call("apply", "-t", file, "--yes", "-o", "json")
    second = call("apply", "-t", file, "--yes")

    assert (first.exit_code, json_of(first)["applied"]) == (ExitCode.DONE, True)
    assert set(broker.states) == {topic.name for topic in wanted_topics(load_topology(file, {}))}
    assert second.exit_code == ExitCode.DONE
    assert second.stdout.startswith("nothing differs\n")
    assert "no running process tells of itself" in second.stdout


def test_apply_says_what_it_would_do_and_does_nothing_when_dry(broker: MemoryBroker, file: Path) -> None:
    result = call("apply", "-t", file, "--dry-run")

    assert result.exit_code == ExitCode.DONE
    assert "+ create" in result.stdout
    assert broker.states == {}


def test_apply_does_nothing_where_nobody_can_confirm(broker: MemoryBroker, file: Path) -> None:
    result = call("apply", "-t", file)

    assert result.exit_code == ExitCode.USAGE
    assert "add --yes" in result.stderr
    assert broker.states == {}


def test_apply_never_deletes_and_says_what_it_left(broker: MemoryBroker, file: Path) -> None:
    kept = TopicState("model_responses", 9, 1, {"retention.ms": "-1", "cleanup.policy": "delete"})
    for topic in (kept, TopicState("others", 1, 1, {})):
        broker.create(topic)

    result = call("apply", "-t", file, "--yes")

    assert result.exit_code == ExitCode.FAILED
    assert broker.states["model_responses"].partitions == 9
    assert broker.states["model_responses"].config["retention.ms"] == "-1"
    assert "others" in broker.states
    assert "Kafka can't take any away" in result.stdout


@pytest.mark.parametrize("command", ["diff", "apply"])
def test_a_broker_that_does_not_answer_exits_4(broker: MemoryBroker, file: Path, command: str) -> None:
    broker.unreachable = True

    result = call(command, "-t", file)

    assert (result.exit_code, result.stdout) == (ExitCode.UNREACHABLE, "")
    assert "does not answer" in result.stderr


def test_the_schema_is_printed() -> None:
    assert orjson.loads(call("schema").stdout)["title"] == "Relayfleet topology"
