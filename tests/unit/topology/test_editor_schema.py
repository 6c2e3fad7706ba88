"""The JSON Schema for editors."""

from pathlib import Path
from typing import Any

import orjson
import pytest
import yaml
from jsonschema import Draft202012Validator

from tests.unit.topology.support import MINIMAL, SQL
from tests.unit.topology.test_load import FILES, ROOT
from workers.core.topology.editor_schema import editor_schema, known_keys, render_schema


def errors(text: str) -> list[str]:
    return [
        error.message for error in Draft202012Validator(editor_schema()).iter_errors(yaml.safe_load(text))
    ]


def test_the_published_file_is_current() -> None:
    published = (ROOT / "schemas" / "topology.schema.json").read_text()

    assert published == render_schema(), (
        "write it again: relayfleet topology schema > schemas/topology.schema.json"
    )


def test_it_is_a_json_schema() -> None:
    Draft202012Validator.check_schema(editor_schema())


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.name)
def test_every_example_holds_and_names_its_schema(file: Path) -> None:
    text = file.read_text()
    reference = text.splitlines()[0].removeprefix("# yaml-language-server: $schema=")

    assert errors(text) == []
    assert (file.parent / reference).resolve() == ROOT / "schemas" / "topology.schema.json"


@pytest.mark.parametrize(
    "lines",
    [
        "    timeout: soon\n",
        "    retyr: {}\n",
        "    retry: {attempts: 0}\n",
        "    balance: random\n",
        "    cache: {max_entries: 1}\n",
        "    retry: {jitter: some}\n",
    ],
)
def test_an_editor_sees_what_the_loader_would_refuse(lines: str) -> None:
    assert errors(MINIMAL + lines)


@pytest.mark.parametrize(
    "lines",
    [
        "    timeout: 2.5s\n    retry: {attempts: 3, max: 60}\n",
        "    retry: {attempts: '${N:-3}'}\n    balance: ${BALANCE}\n",
        "    fallback: []\n    expires_after: null\n",
        "    topic: {max_message_bytes: 1MiB, partitions: 3}\n",
    ],
)
def test_an_editor_takes_every_way_to_write_a_value(lines: str) -> None:
    assert errors(MINIMAL + lines) == []


def test_a_sql_target_holds() -> None:
    assert errors(SQL) == []


@pytest.mark.parametrize(
    ("path", "data", "has", "lacks"),
    [
        ((), None, "intents", "intent"),
        (("topics",), None, "dlq.model_requests", "dead_letters"),
        (("targets", "x"), {"type": "sql"}, "query", "instances"),
        (("targets", "x"), {"type": "openai"}, "instances", "query"),
        (("routes", 3, "when"), None, "intent", "negated"),
    ],
)
def test_known_keys_are_those_of_the_place(path: Any, data: Any, has: str, lacks: str) -> None:
    keys = known_keys(path, data, path[:2])

    assert has in keys
    assert lacks not in keys


def test_the_schema_is_plain_json() -> None:
    assert orjson.loads(render_schema()) == orjson.loads(orjson.dumps(editor_schema()))
