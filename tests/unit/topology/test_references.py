"""`${NAME}`, defaults and files; and secrets that must never be shown."""

from pathlib import Path

import pytest

from tests.unit.topology.support import MINIMAL, SQL, problems
from workers.core.topology.load import load_topology
from workers.core.topology.model import OpenAITarget, SqlTarget

ENVIRONMENT = {"MODEL": "qwen", "EMPTY": "", "TIMEOUT": "90s", "WEIGHT": "2.5", "KEY": "p4ss-w0rd"}


def target(folder: Path, lines: str) -> OpenAITarget:
    file = folder / "topology.yaml"
    file.write_text(MINIMAL + lines)
    loaded = load_topology(file, ENVIRONMENT).targets["llm"]
    assert isinstance(loaded, OpenAITarget)
    return loaded


@pytest.mark.parametrize(
    ("written", "read"),
    [
        ("${MODEL}", "qwen"),
        ("a-${MODEL}-b", "a-qwen-b"),
        ("${MODEL:-other}", "qwen"),
        ("${ABSENT:-other}", "other"),
        ("${EMPTY:-other}", "other"),
        ("a${ABSENT:-}", "a"),
        ("${ABSENT:-http://h:1/x?y}", "http://h:1/x?y"),
        ("$${MODEL}", "${MODEL}"),
        ("costs $5", "costs $5"),
        ("${file:name.txt}", "from a file"),
    ],
)
def test_a_reference_is_replaced_by_what_it_names(tmp_path: Path, written: str, read: str) -> None:
    (tmp_path / "name.txt").write_text("from a file\n")

    assert target(tmp_path, f"    model: '{written}'\n").model == read


def test_numbers_and_durations_may_come_from_the_environment(tmp_path: Path) -> None:
    loaded = target(tmp_path, "    timeout: ${TIMEOUT}\n    retry: {multiplier: '${WEIGHT}'}\n")

    assert (loaded.timeout, loaded.retry.multiplier) == (90.0, 2.5)


def test_what_a_variable_holds_is_not_read_as_yaml_or_as_a_reference(tmp_path: Path) -> None:
    file = tmp_path / "topology.yaml"
    file.write_text(MINIMAL + "    model: ${ODD}\n")

    loaded = load_topology(file, {"ODD": "x: [${MODEL}"}).targets["llm"]

    assert isinstance(loaded, OpenAITarget)
    assert loaded.model == "x: [${MODEL}"


@pytest.mark.parametrize(
    ("written", "says"),
    [
        ("${MODLE}", "the environment has no MODLE; did you mean 'MODEL'?"),
        (
            "${OTHER_THING}",
            "the environment has no OTHER_THING; set it, or give a default: ${OTHER_THING:-…}",
        ),
        ("${MODEL", "`${` without its `}`"),
        ("${}", "is not a reference"),
        ("${two words}", "is not a reference"),
        ("${file:absent.txt}", "there is no file 'absent.txt'"),
        ("${file:}", "there is no file ''"),
        ("${file:.}", "there is no file '.'"),
        ("${file:binary}", "is not UTF-8 text"),
        ("${file:huge}", "has more than 1,048,576 bytes"),
    ],
)
def test_a_reference_that_leads_nowhere_is_a_problem_at_its_line(
    tmp_path: Path, written: str, says: str
) -> None:
    (tmp_path / "binary").write_bytes(b"\xff\xfe")
    (tmp_path / "huge").write_bytes(b"x" * 1_050_000)

    [problem] = problems(tmp_path, MINIMAL + f"    model: '{written}'\n", ENVIRONMENT)

    assert (problem.line, problem.field) == (8, "targets.llm.model")
    assert says in str(problem)


def test_a_key_that_is_not_set_is_one_problem_and_not_two(tmp_path: Path) -> None:
    [problem] = problems(tmp_path, MINIMAL.replace('url: "http://127.0.0.1:8091/v1"', "url: '${URL}'"))

    assert "the environment has no URL" in problem.message


@pytest.mark.parametrize(
    "text",
    [
        MINIMAL + "    timeout: ${KEY}\n",
        MINIMAL + "    retry: {attempts: '${KEY}'}\n",
        MINIMAL + "    fallback: '${KEY}'\n",
        MINIMAL + "    breaker: {when_open: '${KEY}'}\n",
        MINIMAL + "    topic: {name: '${KEY} x'}\n",
        MINIMAL.replace("openai", "${KEY}"),
        MINIMAL.replace("to: llm", "to: '${KEY}'"),
        MINIMAL.replace("name: default", "name: '${KEY}'") + "x: 1\n",
        MINIMAL.replace("http://127.0.0.1:8091/v1", "ftp://${KEY}@h"),
        MINIMAL.replace("http://127.0.0.1:8091/v1", "http://u:${KEY}@h"),
        MINIMAL + "kafka: {bootstrap: '${KEY}'}\n",
        SQL.replace("{status}", "{${KEY}}").replace("p4ss", ""),
        SQL.replace("sqlite:///orders.db", "${KEY}"),
        SQL.replace("= :order_id", "= :order_id and x = :${KEY}"),
        SQL.replace("[0-9]{6,}", "(${KEY}"),
    ],
)
def test_no_problem_shows_what_the_environment_holds(tmp_path: Path, text: str) -> None:
    found = problems(tmp_path, text, ENVIRONMENT)

    assert found
    assert "p4ss" not in " ".join(map(str, found))


def test_a_secret_shows_in_no_printed_form(tmp_path: Path) -> None:
    file = tmp_path / "topology.yaml"
    file.write_text(
        SQL.replace("sqlite:///orders.db", "postgresql://reader:${KEY}@db/shop?sslpassword=${KEY}&app=x")
        + "stores: {redis: 'redis://:${KEY}@cache:6379/0'}\n"
        + "kafka:\n  bootstrap: h:1\n"
        + "  security: {protocol: SASL_SSL, mechanism: PLAIN, username: u, password: '${KEY}'}\n"
    )

    loaded = load_topology(file, ENVIRONMENT)
    dumped = loaded.model_dump(mode="json")

    assert "p4ss" not in f"{loaded!r} {loaded} {dumped} {loaded.model_dump_json()}"
    assert dumped["targets"]["orders"]["dsn"] == "postgresql://reader:***@db/shop?sslpassword=***&app=***"
    assert dumped["stores"]["redis"] == "redis://:***@cache:6379/0"
    assert dumped["kafka"]["security"]["password"] == "***"
    orders = loaded.targets["orders"]
    assert isinstance(orders, SqlTarget)
    assert "p4ss" in orders.dsn.get_secret_value()
