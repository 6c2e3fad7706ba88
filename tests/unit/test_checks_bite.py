"""Each check of `make check` is shown a fault and must refuse it: a gate that can't fail is no gate."""

import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
BIN = Path(sys.executable).parent


@pytest.fixture
def copy(tmp_path: Path) -> Path:
    """The sources and settings of the project, to be broken."""
    for name in ("workers", "schemas", "dlq_tools", "benchmarks"):
        shutil.copytree(ROOT / name, tmp_path / name, ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(ROOT / "pyproject.toml", tmp_path)
    return tmp_path


def _run(copy: Path, *command: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [BIN / command[0], *command[1:]],
        cwd=copy,
        capture_output=True,
        text=True,
        check=False,
        env={"PYTHONPATH": str(copy)},
    )


@pytest.mark.parametrize(
    ("planted", "rule"),
    [
        ("import time\n\nSTART = time.time()\n", "TID251"),
        ("import os\n\nHOME = os.environ\n", "TID251"),
        ("def f() -> None:\n    try:\n        g()\n    except Exception:\n        pass\n", "BLE001"),
        ("def f() -> None:\n    print(1)\n", "T201"),
        ("import pickle\n", "TID251"),
    ],
)
def test_ruff_refuses_what_the_style_forbids(copy: Path, planted: str, rule: str) -> None:
    (copy / "workers/core/planted.py").write_text(planted)
    result = _run(copy, "ruff", "check", "--no-cache", "workers/core/planted.py")
    assert result.returncode == 1
    assert rule in result.stdout


def test_ruff_refuses_what_is_not_formatted(copy: Path) -> None:
    (copy / "workers/core/planted.py").write_text("x = {  'a':1 }\n")
    assert _run(copy, "ruff", "format", "--check", "--no-cache", "workers/core/planted.py").returncode == 1


def test_mypy_refuses_an_untyped_function(tmp_path: Path) -> None:
    (tmp_path / "planted.py").write_text("def f(x):\n    return x\n")
    result = _run(
        tmp_path,
        "mypy",
        "--config-file",
        str(ROOT / "pyproject.toml"),
        "--cache-dir",
        str(tmp_path),
        "planted.py",
    )
    assert result.returncode == 1
    assert "no-untyped-def" in result.stdout


@pytest.mark.parametrize(
    ("place", "planted", "contract"),
    [
        ("workers/core/planted.py", "import workers.kafka\n", "imports point down BROKEN"),
        ("workers/policies/planted.py", "import workers.stores\n", "imports point down BROKEN"),
        (
            "workers/inference/planted.py",
            "import confluent_kafka\n",
            "confluent_kafka is imported by workers.kafka alone BROKEN",
        ),
        (
            "workers/inference/planted.py",
            "import faust\n",
            "faust is imported by workers.router alone BROKEN",
        ),
        ("workers/policies/planted.py", "import asyncio\n", "policies and schemas do no I/O BROKEN"),
    ],
)
def test_an_import_that_points_up_is_refused(copy: Path, place: str, planted: str, contract: str) -> None:
    (copy / place).write_text(planted)
    result = _run(copy, "lint-imports", "--no-cache")
    assert result.returncode == 1
    assert contract in result.stdout


def test_every_suppression_names_its_rule_and_its_reason() -> None:
    suppression = re.compile(r"# (ruff: )?noqa|# type: ignore|# pragma")
    explained = re.compile(r"noqa: [A-Z0-9, ]+ - \S|type: ignore\[[a-z-]+\] +# \S")
    bare = [
        f"{path.relative_to(ROOT)}:{number}"
        for package in ("workers", "schemas", "dlq_tools", "benchmarks")
        for path in (ROOT / package).rglob("*.py")
        for number, line in enumerate(path.read_text().splitlines(), 1)
        if suppression.search(line) and not explained.search(line)
    ]
    assert bare == []
