"""What `relayfleet up` will start, given the machine's ports and the user's environment."""

import socket
from dataclasses import replace
from pathlib import Path
from unittest.mock import patch

import pytest

from workers.commands.up_fleet import Choices, Plan, member_name, needs_model, plan
from workers.core.errors import UsageError
from workers.core.settings import Settings

ROOT = Path(__file__).parents[2]


def planned(tmp_path: Path, *, stub: bool = False, **environment: str) -> Plan:
    settings = Settings.read({"RELAYFLEET_HOME": str(tmp_path), **environment})
    return plan(Choices(ROOT / "topology.yaml", stub=stub), settings)


def llm_url(made: Plan) -> str:
    [instance] = made.loaded.targets["llm"].instances  # type: ignore[union-attr]
    return instance.url


def test_the_local_model_is_the_target_where_nothing_else_is_named(tmp_path: Path) -> None:
    made = planned(tmp_path, OPENAI_API_KEY="sk-not-for-a-local-model")
    assert needs_model(made)
    assert llm_url(made) == f"http://127.0.0.1:{made.ports['model']}/v1"
    assert "RELAYFLEET_LLM_API_KEY" not in made.environment


def test_the_users_own_model_replaces_the_local_one(tmp_path: Path) -> None:
    made = planned(tmp_path, OPENAI_BASE_URL="http://models.example/v1", OPENAI_API_KEY="sk-mine")
    assert not needs_model(made)
    assert llm_url(made) == "http://models.example/v1"
    assert made.environment["RELAYFLEET_LLM_API_KEY"] == "sk-mine"


def test_the_stub_is_used_whatever_the_environment_says(tmp_path: Path) -> None:
    made = planned(tmp_path, stub=True, OPENAI_BASE_URL="http://models.example/v1", OPENAI_API_KEY="sk-mine")
    assert needs_model(made)
    assert llm_url(made).startswith("http://127.0.0.1:")
    assert "RELAYFLEET_LLM_API_KEY" not in made.environment


def test_the_users_own_redis_is_left_in_place(tmp_path: Path) -> None:
    made = planned(tmp_path, RELAYFLEET_REDIS_URL="redis://cache.example:6379/1")
    assert made.environment["RELAYFLEET_REDIS_URL"] == "redis://cache.example:6379/1"


def test_a_taken_port_is_passed_over_and_said(tmp_path: Path) -> None:
    wanted = planned(tmp_path).ports["redis"]
    with socket.create_server(("127.0.0.1", wanted)):
        made = planned(tmp_path)
    assert made.ports["redis"] != wanted
    assert any(line.startswith("redis: port 6390 is taken, using ") for line in made.moved)
    assert len(set(made.ports.values())) == len(made.ports)


def test_a_topology_that_is_not_there_is_told_before_anything_starts(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"none\.yaml"):
        plan(Choices(tmp_path / "none.yaml"), Settings.read({}))


def test_the_processes_of_one_fleet_keep_their_name_and_no_other_fleet_has_it(tmp_path: Path) -> None:
    settings = [Settings.read({"RELAYFLEET_HOME": str(tmp_path / home)}) for home in ("one", "other")]
    here, elsewhere = (Plan(Choices(ROOT / "topology.yaml"), each, {"router": 9101}) for each in settings)
    beside = Plan(here.choices, here.settings, {"router": 9102})
    assert member_name(here) == member_name(replace(here)) != member_name(elsewhere)
    assert member_name(beside) != member_name(here)
    with patch.object(socket, "gethostname", return_value="another.example"):
        assert member_name(here).startswith("up-")
        other_machine = member_name(here)
    assert other_machine != member_name(here)
