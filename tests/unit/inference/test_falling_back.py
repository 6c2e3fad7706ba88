"""Messages that their target did not answer go on to another, by what went wrong."""

from dataclasses import replace

import pytest

from schemas import headers as h
from schemas.errors import ErrorClass
from tests.support import eventually
from tests.unit.inference.world import TARGET, TOPOLOGY, World, once_key
from workers.core.errors import PermanentError, TransientError
from workers.core.ports import Claimed
from workers.core.topology.fallback import Fallback, parse_fallback
from workers.core.topology.tenants import Tenant
from workers.inference.build import target_policy
from workers.policies.fallback import Fit

FALLBACK = "model_requests.small"


def falling_back(world: World, **lists: list[str]) -> World:
    chains = parse_fallback(lists)
    assert isinstance(chains, Fallback)
    world.target = replace(world.target, chains=chains)
    return world


@pytest.mark.parametrize(
    ("error_class", "attempts", "topic"),
    [
        (ErrorClass.CONTEXT_LENGTH, 1, FALLBACK),
        (ErrorClass.OVERLOADED, 1, "model_requests.smallest"),
        (ErrorClass.UPSTREAM_5XX, 3, FALLBACK),
    ],
)
async def test_a_failure_goes_on_to_the_fallback_of_its_class(
    world: World, error_class: ErrorClass, attempts: int, topic: str
) -> None:
    falling_back(world, overloaded=["smallest"], default=["small"], content_filter=[]).retry(attempts=3)
    kind = PermanentError if error_class is ErrorClass.CONTEXT_LENGTH else TransientError
    world.backend.default = kind(error_class, "it failed")
    async with world.running():
        world.send("a")
        await eventually(lambda: world.committed_offset() == 1)
        claim = await world.outcomes.claim(once_key("a"))
    assert len(world.backend.calls) == attempts
    (handed,) = world.broker.records(topic)
    assert h.get(handed.headers, h.ATTEMPT) is None
    assert isinstance(claim, Claimed), "the next target may answer it"
    assert (world.answered, world.dead_letters) == ([], [])


async def test_what_a_content_filter_refused_goes_nowhere_else(world: World) -> None:
    falling_back(world, default=["small"], content_filter=[])
    world.backend.default = PermanentError(ErrorClass.CONTENT_FILTER, "filtered")
    async with world.running():
        world.send("a")
        await eventually(lambda: world.answered == ["a"])
    assert world.broker.records(FALLBACK) == []
    assert len(world.dead_letters) == 1


async def test_what_is_too_long_goes_to_the_larger_target_before_a_call_is_paid(world: World) -> None:
    fit = Fit(TOPOLOGY.targets[TARGET], 3, (("small", 100.0), ("smallest", 200.0)))
    world.target = replace(world.target, fit=fit)
    async with world.running():
        world.send("a")
        await eventually(lambda: world.committed_offset() == 1)
    assert world.backend.calls == []
    (handed,) = world.broker.records(FALLBACK)
    assert h.get(handed.headers, h.FALLBACK) == "smallest"


async def test_no_message_falls_back_to_a_target_that_its_tenant_may_not_use(world: World) -> None:
    falling_back(world, default=["small", "smallest"])
    world.target = replace(world.target, permits={"acme": frozenset({TARGET, "smallest"})})
    world.backend.default = PermanentError(ErrorClass.CONTEXT_LENGTH, "too long")
    async with world.running():
        world.send("a", headers=((h.TENANT, b"acme"),))
        world.send("b")
        await eventually(lambda: world.committed_offset() == 2)
    (theirs,) = world.broker.records("model_requests.smallest")
    assert h.get(theirs.headers, h.TENANT) == "acme"
    (others,) = world.broker.records(FALLBACK)
    assert h.get(others.headers, h.TENANT) is None


async def test_what_is_too_long_goes_to_a_larger_target_of_its_tenant(world: World) -> None:
    fit = Fit(TOPOLOGY.targets[TARGET], 3, (("small", 100.0), ("smallest", 200.0)))
    world.target = replace(world.target, fit=fit, permits={"acme": frozenset({TARGET, "smallest"})})
    async with world.running():
        world.send("a", headers=((h.TENANT, b"acme"),))
        await eventually(lambda: world.committed_offset() == 1)
    assert len(world.broker.records("model_requests.smallest")) == 1
    assert world.broker.records(FALLBACK) == []


def test_a_worker_knows_from_the_topology_what_its_tenants_may_use() -> None:
    topology = TOPOLOGY.model_copy(update={"tenants": {"acme": Tenant(targets=(TARGET,)), "rich": Tenant()}})
    assert target_policy(topology, TARGET).permits == {"acme": frozenset({TARGET})}
