"""What loads, and that nothing but a `TopologyError` ever comes out of a file."""

import random
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.unit.topology.support import MINIMAL, SQL, problems
from workers.core.topology.load import load_topology
from workers.core.topology.model import OpenAITarget

ROOT = Path(__file__).parents[3]
FILES = [ROOT / "topology.yaml", *sorted((ROOT / "examples" / "topologies").glob("*.yaml"))]
ENVIRONMENT = {
    "KAFKA_BOOTSTRAP": "kafka-1:9093,kafka-2:9093",
    "KAFKA_PASSWORD": "x",
    "MODEL_API_KEY": "x",
    "ORDERS_DSN": "postgresql+asyncpg://reader:x@db/shop",
}


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.name)
def test_every_example_loads(file: Path) -> None:
    assert load_topology(file, ENVIRONMENT).routes[-1].name == "default"


def test_the_default_topology_needs_nothing_from_the_environment() -> None:
    loaded = load_topology(ROOT / "topology.yaml", {})

    assert loaded.kafka.bootstrap == "embedded"
    llm = loaded.targets["llm"]
    assert isinstance(llm, OpenAITarget)
    assert llm.instances[0].url == "http://127.0.0.1:8091/v1"
    assert llm.instances[0].api_key is None
    assert llm.model is None


def test_an_anchor_may_be_used_again_and_merged(tmp_path: Path) -> None:
    text = (
        MINIMAL.replace("  llm:", "  llm: &base") + "    timeout: 7s\n  other:\n    <<: *base\n    model: m\n"
    )
    file = tmp_path / "topology.yaml"
    file.write_text(text)

    other = load_topology(file, {}).targets["other"]

    assert isinstance(other, OpenAITarget)
    assert (other.timeout, other.model, len(other.instances)) == (7.0, "m", 1)


def test_words_that_old_yaml_takes_for_other_types_stay_text(tmp_path: Path) -> None:
    file = tmp_path / "topology.yaml"
    words = "[no, on, 12:30, 2024-01-01, 010, =, y]"
    file.write_text(
        MINIMAL.replace("  - {", f"  - {{name: a, when: {{keywords: {words}}}, to: llm}}\n  - {{")
    )

    keywords = load_topology(file, {}).routes[0].when.keywords

    assert keywords == ("no", "on", "12:30", "2024-01-01", "010", "=", "y")


def test_a_single_name_needs_no_list(tmp_path: Path) -> None:
    file = tmp_path / "topology.yaml"
    file.write_text(
        MINIMAL.replace("  - {", "  - {name: a, when: {source: iot, keywords: 蓝屏}, to: llm}\n  - {")
    )

    when = load_topology(file, {}).routes[0].when

    assert (when.source, when.keywords) == (("iot",), ("蓝屏",))


def test_a_byte_order_mark_and_windows_line_ends_do_no_harm(tmp_path: Path) -> None:
    assert problems(tmp_path, b"\xef\xbb\xbf" + MINIMAL.replace("\n", "\r\n").encode()) == ()


def test_a_select_whose_columns_cannot_be_told_takes_any_placeholder(tmp_path: Path) -> None:
    for selected in ("*", "o.*", "(select 1) as status", "json_extract(data, '$.a')"):
        text = SQL.replace("status, eta", selected).replace("{status}", "{anything}")
        assert problems(tmp_path, text) == (), selected


@pytest.mark.parametrize(
    "selected",
    ["o.status", "max(a, b) as status", "x status", '"status"', "eta, upper(s) AS STATUS", "distinct status"],
)
def test_a_placeholder_may_name_any_selected_column(tmp_path: Path, selected: str) -> None:
    text = SQL.replace("status, eta", selected.replace('"', '\\"'))
    assert problems(tmp_path, text) == ()
    assert len(problems(tmp_path, text.replace("{status}", "{other}"))) == 1


@given(st.binary(max_size=200))
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=150, deadline=None)
def test_any_bytes_load_or_are_refused_with_a_place(tmp_path: Path, raw: bytes) -> None:
    assert all(problem.line >= 1 and problem.column >= 1 for problem in problems(tmp_path, raw))


@given(st.integers(0, 2**32))
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=150, deadline=None)
def test_a_damaged_file_loads_or_is_refused_with_a_place(tmp_path: Path, seed: int) -> None:
    rng = random.Random(seed)
    text = FILES[0].read_text()
    for _ in range(rng.randint(1, 4)):
        at = rng.randrange(len(text))
        odd = rng.choice(
            [
                "",
                "\t",
                "{",
                "}",
                "[",
                ": ",
                "- ",
                "&a ",
                "*a",
                "!!int ",
                "null",
                "-1",
                "'",
                "\n",
                "? ",
                "<<: ",
                "${",
                "|",
                "\udcff",
            ]
        )
        text = text[:at] + odd + text[at + rng.randint(0, 12) :]
    last = text.count("\n") + 1

    found = problems(tmp_path, text.encode("utf-8", "surrogateescape"))

    assert all(1 <= problem.line <= last for problem in found), [*map(str, found)]
