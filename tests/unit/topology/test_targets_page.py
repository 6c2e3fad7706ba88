"""docs/targets.md shows every target type with every key, and what it shows loads."""

import re
from pathlib import Path
from typing import get_args

import pytest
import yaml
from pydantic import BaseModel

from tests.unit.topology.support import problems
from workers.core.topology.instances import Instance, Tls
from workers.core.topology.model import Target, TargetBase
from workers.core.topology.protocols import AnswerPaths, OAuth2, StreamPaths

PAGE = (Path(__file__).resolve().parents[3] / "docs/targets.md").read_text()
EXAMPLES = re.findall(r"```yaml\n(.*?)```", PAGE, re.DOTALL)
TYPES: tuple[type[BaseModel], ...] = get_args(get_args(Target)[0])
SECRETS = dict.fromkeys(re.findall(r"\$\{(\w+)\}", PAGE), "s3cret")


@pytest.mark.parametrize("example", EXAMPLES)
def test_every_example_loads(tmp_path: Path, example: str) -> None:
    first = next(iter(yaml.safe_load(example)["targets"]))
    text = f"version: 1\nroutes: [{{name: default, to: {first}}}]\n{example}"
    assert [str(problem) for problem in problems(tmp_path, text, SECRETS)] == []


@pytest.mark.parametrize("model", TYPES, ids=lambda model: model.__name__)
def test_every_key_of_a_type_is_shown_in_its_section(model: type[BaseModel]) -> None:
    kind = get_args(model.model_fields["type"].annotation)[0]
    section = PAGE.split(f"\n## {kind}\n")[1].split("\n## ")[0]
    own = model.model_fields.keys() - TargetBase.model_fields.keys()
    assert [name for name in sorted(own) if not re.search(rf"\b{name}\b", section)] == []


def test_the_keys_of_all_types_are_shown() -> None:
    shared: list[type[BaseModel]] = [TargetBase, Instance, Tls, AnswerPaths, StreamPaths, OAuth2]
    names = {name for model in shared for name in model.model_fields}
    assert [name for name in sorted(names) if not re.search(rf"\b{name}\b", PAGE)] == []
