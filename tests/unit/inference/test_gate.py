"""A worker whose messages become dead letters stops consuming, and goes on by itself or by command."""

import asyncio

import pytest

from schemas.errors import ErrorClass
from tests.support import eventually
from tests.unit.inference.world import TARGET, World
from workers.backends.memory import ANSWER, MemoryBackend
from workers.core.errors import PermanentError
from workers.core.topology.model import OpenAITarget
from workers.inference.build import pool_rules, valve_policy
from workers.policies.balance import BalancePolicy
from workers.policies.breaker import BreakerPolicy
from workers.policies.valve import ValvePolicy

REFUSED = PermanentError(ErrorClass.UPSTREAM_4XX, "refused")


def refusing(**valve: float) -> World:
    policy = ValvePolicy(ratio=0.5, min_messages=4, probes=2, **valve)  # type: ignore[arg-type]  # a test's own names
    return World(backends=[MemoryBackend("i", REFUSED)], valve=policy)


def state(world: World) -> float | None:
    return world.metrics.registry.get_sample_value("relayfleet_valve_state", {"target": TARGET})


async def test_a_bad_deployment_does_not_dead_letter_everything() -> None:
    world = refusing(stop_for=1000.0)
    async with world.running():
        world.send(*(f"m{number}" for number in range(200)))
        await eventually(lambda: state(world) == 2)
        await world.turns()  # what had a slot when it stopped is still called
        await eventually(lambda: len(world.dead_letters) == len(world.backend.calls))
        stopped = len(world.dead_letters)
        world.send("late")
        await world.turns()
        assert len(world.dead_letters) == stopped < 50
    assert len(world.answered) == stopped == world.committed_offset()


async def test_an_operator_resumes_it_and_nothing_was_lost() -> None:
    world = refusing(stop_for=1000.0)
    async with world.running():
        world.send(*(f"m{number}" for number in range(200)))
        await eventually(lambda: state(world) == 2)
        world.backend.default = ANSWER
        world.workers[0].resume()
        await eventually(lambda: len(world.answered) == 200)
    assert state(world) == 0
    assert world.committed_offset() == 200


async def test_it_goes_on_by_itself_once_probes_do_well() -> None:
    world = refusing(stop_for=0.1)
    async with world.running():
        world.send(*(f"m{number}" for number in range(200)))
        await eventually(lambda: state(world) == 2)
        world.backend.default = ANSWER
        await eventually(lambda: len(world.answered) == 200)
    assert len(world.dead_letters) < 50


async def test_probes_that_become_dead_letters_cost_no_more_than_themselves() -> None:
    world = refusing(stop_for=0.05)
    async with world.running():
        world.send(*(f"m{number}" for number in range(200)))
        await eventually(lambda: state(world) == 2)
        first = len(world.dead_letters)
        await eventually(lambda: len(world.dead_letters) >= first + 3)
        assert len(world.dead_letters) < 100


async def test_a_drain_ends_a_stopped_worker() -> None:
    world = refusing(stop_for=1000.0)
    async with asyncio.timeout(30), world.running():
        world.send(*(f"m{number}" for number in range(20)))
        await eventually(lambda: state(world) == 2)
    assert world.errors == []


@pytest.mark.parametrize(("when_open", "waits"), [("pause", True), ("reject", False)])
def test_the_topology_says_how_instances_and_targets_are_taken_out(when_open: str, waits: bool) -> None:
    target = OpenAITarget.model_validate(
        {
            "type": "openai",
            "instances": [{"url": "http://127.0.0.1:1/v1"}],
            "balance": "session",
            "breaker": {
                "error_rate": 0.3,
                "slow_call": "2s",
                "slow_rate": 0.7,
                "window": "5s",
                "min_calls": 7,
                "open_for": "4s",
                "probes": 2,
                "when_open": when_open,
            },
            "valve": {
                "ratio": 0.2,
                "window": "30s",
                "min_messages": 9,
                "run": 5,
                "stop_for": "8s",
                "probes": 4,
            },
        }
    )
    rules = pool_rules(target)
    assert rules.balance == BalancePolicy("session", slow_start=4.0)
    assert rules.breaker == BreakerPolicy(0.3, 2.0, 0.7, 5.0, 7, 4.0, 2)
    assert rules.waits is waits
    assert valve_policy(target) == ValvePolicy(0.2, 30.0, 9, 5, 8.0, 4)
