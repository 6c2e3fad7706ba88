"""The pages in docs/ say what the code does."""

import ast
import re
from pathlib import Path

import pytest
from prometheus_client import generate_latest

from tests.documents import ROOT, definitions, pages
from workers.core import metrics
from workers.core.exit_codes import ExitCode
from workers.core.metrics import Definition, Metrics

KINDS = {"counter": "counter", "count": "counter", "gauge": "gauge", "histogram": "histogram"}  # by method
DEFINED = {name: value for name, value in vars(metrics).items() if isinstance(value, Definition)}


def test_the_pages_that_follow_from_the_code_are_current() -> None:
    old = [path.name for path, text in pages().items() if path.read_text() != text]
    assert not old, f"`make docs` writes {old}"


def test_the_design_names_tests_and_modules_that_exist() -> None:
    page = (ROOT / "docs/DESIGN.md").read_text()
    sources = "".join(path.read_text() for path in (ROOT / "tests").rglob("*.py"))
    named = set(re.findall(r"`(test_[a-z0-9_]+)`", page))
    assert [name for name in sorted(named) if f"def {name}(" not in sources] == []
    files = set(re.findall(r"`((?:tests|workers|schemas|benchmarks|docs)/[\w/.-]+)`", page))
    assert [name for name in sorted(files) if not (ROOT / name).exists()] == []


def test_every_metric_that_is_defined_is_set_somewhere_and_by_its_kind() -> None:
    files = [path for package in ("workers", "dlq_tools") for path in (ROOT / package).rglob("*.py")]
    used = {(name, kind) for path in files for name, kind in _uses(path)}
    assert used == {(name, definition.kind) for name, definition in DEFINED.items()}


@pytest.mark.parametrize("definition", definitions(), ids=lambda each: each.name)
def test_prometheus_keeps_the_name_of_a_metric(definition: Definition) -> None:
    made = Metrics()
    getattr(made, definition.kind)(definition, *("x" for _ in definition.labels))
    assert f"# HELP {definition.name} " in _shown(made)


def test_every_exit_code_is_explained_to_operators() -> None:
    page = (ROOT / "docs/operations.md").read_text()
    explained = {int(code) for code in re.findall(r"^\| (\d+) \|", page, re.MULTILINE)}
    assert explained == {code.value for code in ExitCode}


def _uses(path: Path) -> list[tuple[str, str]]:
    """The metrics that a module asks for, and as what."""
    calls = [node for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, ast.Call)]
    return [
        (name, KINDS[call.func.attr])
        for call in calls
        if isinstance(call.func, ast.Attribute) and call.func.attr in KINDS
        for name in _names(call.args[:1])
        if name in DEFINED
    ]


def _names(arguments: list[ast.expr]) -> list[str]:
    return [
        argument.attr if isinstance(argument, ast.Attribute) else argument.id
        for argument in arguments
        if isinstance(argument, ast.Attribute | ast.Name)
    ]


def _shown(made: Metrics) -> str:
    return generate_latest(made.registry).decode()
