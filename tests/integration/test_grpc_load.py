"""The benchmarks' gRPC load, in a process of its own, at a gateway that is answered by hand."""

import asyncio

import pytest

from benchmarks.load.calls import OK, Calls, call
from benchmarks.load.grpc import Spec
from tests.integration.test_grpc_server import running
from tests.integration.test_locust import answered
from tests.unit.gateway.world import World
from workers.core.topology.gateway import Gateway, Limits


async def measured(text: str, gather: float, limits: Limits) -> Calls:
    """What came of 50 questions in half a second."""
    async with running(Gateway(confirm=1, limits=limits)) as (world, server):
        asked = Spec(server.address, text, 0.0, 0.5, "", 100.0, gather=gather)
        asking = asyncio.create_task(asyncio.to_thread(call, asked, {}, 0.0))
        return await answered(world, asking, World.reply)


@pytest.mark.parametrize("gather", [0.0, 0.005])
async def test_each_question_is_asked_in_its_time_and_counted(gather: float) -> None:
    calls = await measured("hi", gather, Limits())
    assert calls.status.tolist() == [OK] * 50
    assert calls.intended.tolist() == pytest.approx([number / 100 for number in range(50)])
    assert (calls.finished >= calls.intended).all()


@pytest.mark.parametrize("gather", [0.0, 0.005])
async def test_what_is_refused_is_an_error(gather: float) -> None:
    calls = await measured("too long", gather, Limits(text=5))
    assert (len(calls.status), calls.errors) == (50, 50)
