"""What attempts cost: on responses, in metrics and on `fleet_logs`."""

from dataclasses import replace
from decimal import Decimal
from typing import Any

import orjson
import pytest

from schemas.errors import ErrorClass
from tests.support import eventually
from tests.unit.inference.world import TARGET, World
from workers.core.errors import PermanentError, TransientError
from workers.core.ports import Answer, Usage
from workers.policies.cost import Tariff

TARIFF = Tariff(Decimal("0.001"), Decimal("0.01"), "EUR")
ANSWER = Answer("yes", usage=Usage(100, 5, 105))


def priced(world: World) -> World:
    world.target = replace(world.target, tariff=TARIFF)
    return world


def sample(world: World, name: str, **labels: str) -> float | None:
    return world.metrics.registry.get_sample_value(name, {"target": TARGET, **labels})


def events(world: World) -> list[dict[str, Any]]:
    return [orjson.loads(record.value or b"") for record in world.broker.records("fleet_logs")]


async def test_a_response_says_what_its_answer_cost_and_a_repeated_one_what_that_saved(world: World) -> None:
    priced(world).backend.then(ANSWER)
    async with world.running():
        world.send("a")
        await eventually(lambda: world.answered == ["a"])
        world.send("a")
        await eventually(lambda: world.answered == ["a", "a"])
    first, second = (response.payload.cost for response in world.responses)
    assert first is not None
    assert second is not None
    assert first.model_dump() == {"amount": pytest.approx(0.15), "currency": "EUR", "saved": None}
    assert second.model_dump() == {"amount": 0.0, "currency": "EUR", "saved": pytest.approx(0.15)}
    assert sample(world, "relayfleet_cost_total", currency="EUR") == pytest.approx(0.15)
    assert sample(world, "relayfleet_tokens_total", type="prompt") == 100


async def test_a_failed_attempt_that_was_paid_for_counts_everywhere(world: World) -> None:
    broken = TransientError(ErrorClass.UPSTREAM_5XX, "broke off", usage=Usage(100, 1, 101))
    filtered = PermanentError(ErrorClass.CONTENT_FILTER, "filtered", usage=Usage(100, 2, 102))
    priced(world).backend.then(broken, filtered)
    async with world.running():
        world.send("a")
        await eventually(lambda: world.answered == ["a"])
    (response,) = world.responses
    assert response.payload.cost is not None
    assert response.payload.cost.amount == pytest.approx(0.23)
    assert response.payload.usage is not None
    assert response.payload.usage.completion_tokens == 2
    assert sample(world, "relayfleet_tokens_total", type="completion") == 3
    assert sample(world, "relayfleet_cost_total", currency="EUR") == pytest.approx(0.23)
    attempted = [event for event in events(world) if event["event"] == "attempted"]
    assert [event["cost"] for event in attempted] == [pytest.approx(0.11), pytest.approx(0.12)]
    (settled,) = [event for event in events(world) if event["event"] == "dead_lettered"]
    assert settled["cost"] == pytest.approx(0.23)


async def test_what_nobody_counted_is_not_said_to_be_free(world: World) -> None:
    priced(world).backend.then(Answer("no usage"))
    async with world.running():
        world.send("a")
        await eventually(lambda: world.answered == ["a"])
    assert world.responses[0].payload.cost is None


async def test_without_a_price_tokens_are_counted_and_no_cost_is_said(world: World) -> None:
    world.backend.then(ANSWER)
    async with world.running():
        world.send("a")
        await eventually(lambda: world.answered == ["a"])
    assert world.responses[0].payload.cost is None
    assert sample(world, "relayfleet_tokens_total", type="completion") == 5
