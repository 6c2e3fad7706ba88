"""docs/limits.md and the targets of docs/routing.md: every example loads, and the figures are those of the command."""

import re
import shlex
from pathlib import Path

import pytest
import yaml
from typer.testing import CliRunner

from tests.unit.topology.support import problems
from tests.unit.topology.test_load import ROOT
from workers.commands.route import app
from workers.core.exit_codes import ExitCode

PAGE = (ROOT / "docs" / "limits.md").read_text()
SEVERAL = (ROOT / "docs" / "routing.md").read_text().partition("## Several targets")[2]
EXAMPLES = [
    example
    for page in (PAGE, SEVERAL)
    for example in re.findall(r"```yaml\n(.*?)```", page, re.DOTALL)
    if "targets:" in example
]


@pytest.mark.parametrize("example", EXAMPLES, ids=range(len(EXAMPLES)))
def test_every_example_is_a_deployment_once_it_has_its_route(tmp_path: Path, example: str) -> None:
    keys = yaml.safe_load(example)
    route = "" if "routes" in keys else "routes: [{name: default, to: llm}]\n"
    assert problems(tmp_path, f"version: 1\n{route}{example}") == ()


def test_there_are_examples_of_everything() -> None:
    text = "".join(EXAMPLES)
    asked = (
        "price",
        "cache",
        "semantic",
        "limits",
        "budget",
        "tenants",
        "weight",
        "priority",
        "prefer",
        "fallback",
    )
    assert all(f"{key}:" in text for key in asked)


def test_the_figures_of_like_questions_are_those_of_the_command(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)
    (command,) = re.findall(r"^relayfleet route (.+)$", PAGE, re.MULTILINE)
    done = CliRunner().invoke(app, shlex.split(command))
    assert done.exit_code == ExitCode.DONE, done.output
    rows = re.findall(r"^\| (0\.\d+) \| (\d+) \| (\S+)", PAGE, re.MULTILINE)
    assert len(rows) == 4
    for threshold, answered, share in rows:
        shown = "0.0" if share == "none" else share
        assert re.search(rf"│\s+{threshold} │\s+0\.05 │\s+{answered} │\s+\d+ │\s+{shown}%", done.stdout)
