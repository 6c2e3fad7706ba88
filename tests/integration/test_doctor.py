"""`relayfleet doctor` where something is missing."""

from pathlib import Path

import orjson
import pytest
from typer.testing import CliRunner

from workers.cli import app
from workers.core.exit_codes import ExitCode

TOPOLOGY = """
version: 1
routes: [{name: default, to: orders}]
targets:
  orders: {type: sql, dsn: "sqlite:///orders.db", query: "select 1 as one", answer: "{one}"}
"""


def test_a_broker_that_does_not_run_is_told_once_with_what_to_start(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "topology.yaml").write_text(TOPOLOGY)
    monkeypatch.setenv("RELAYFLEET_HOME", str(tmp_path))
    done = CliRunner().invoke(app, ["doctor", "--topology", str(tmp_path / "topology.yaml"), "-o", "json"])
    assert done.exit_code == ExitCode.UNREACHABLE, done.output
    [kafka] = [each for each in orjson.loads(done.stdout)["findings"] if each["check"] == "kafka"]
    assert (kafka["state"], kafka["do"]) == ("unreachable", "")
    assert "`relayfleet up`" in kafka["found"]
