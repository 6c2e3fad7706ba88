"""What the operators' guide to the gateway says is so."""

import json
from pathlib import Path

import yaml
from typer.testing import CliRunner

from tests.guides import blocks
from workers.cli import app
from workers.core.topology.gateway import Gateway
from workers.core.topology.load import load_topology
from workers.gateway.auth import hash_of

ROOT = Path(__file__).resolve().parents[2]
OPERATORS = ROOT / "docs/gateway.md"


def test_the_settings_that_operators_are_shown_load_and_are_the_defaults(tmp_path: Path) -> None:
    (shown,) = blocks(OPERATORS, "yaml")
    target = {"type": "openai", "instances": [{"url": "http://127.0.0.1:1/v1"}]}
    path = tmp_path / "topology.yaml"
    rest = {"version": 1, "routes": [{"name": "default", "to": "llm"}], "targets": {"llm": target}}
    path.write_text(yaml.safe_dump(rest) + shown)
    loaded = load_topology(path, {})
    off = {"host": None, "tls": None, "jwt": None, "cors": Gateway().cors}
    assert loaded.gateway.model_copy(update=off) == Gateway()
    assert loaded.tenants["acme"].targets == ("llm",)


def test_a_new_key_comes_with_the_hash_that_lets_it_in() -> None:
    assert "relayfleet gateway key new" in OPERATORS.read_text(encoding="utf-8")
    made = json.loads(CliRunner().invoke(app, ["gateway", "key", "new", "-o", "json"]).stdout)
    assert hash_of(made["key"]) == made["hash"]
    assert "hash  sha256:" in CliRunner().invoke(app, ["gateway", "key", "new"]).stdout
