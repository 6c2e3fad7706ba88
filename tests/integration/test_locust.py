"""Locust's gRPC users, in a process of their own, at a gateway that is answered by hand."""

import asyncio
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import orjson
import pytest

from tests.integration.test_grpc_many import names_of
from tests.integration.test_grpc_server import running
from tests.processes import ROOT, free_port
from tests.unit.gateway.world import World
from workers.core.topology.gateway import Gateway

Told = TypeVar("Told")
KINDS = ["GrpcUser", "GrpcManyUser"]
STEP = "--steps 3 --hold 600 --enough 20 --settle 0 --pace 0.05 --host http://127.0.0.1:9 --headless --only-summary"


async def measured(
    kind: str, file: Path, answer: Callable[[World, Any], None], where: str = ""
) -> dict[str, Any]:
    """What three users saw until enough was counted. `where`: host and port; without them those of a gateway."""
    async with running(Gateway(confirm=30)) as (world, server):
        asked = (*STEP.split(), "--grpc", where or server.address, "--results", str(file), kind)
        locust = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "locust", "-f", "benchmarks/locustfile.py", *asked),
            cwd=ROOT,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
        )
        ending = asyncio.create_task(locust.communicate())
        said, _ = await answered(world, ending, answer)
    return _row(file, said.decode())


async def answered(world: World, asking: asyncio.Task[Told], answer: Callable[[World, Any], None]) -> Told:
    """What comes of asking, with each question answered as it comes."""
    done = set[str]()
    while not (await asyncio.wait({asking}, timeout=0.02))[0]:
        records = names_of(world)
        for name in records.keys() - done:
            answer(world, records[name])
        done |= records.keys()
    return await asking


def _row(file: Path, said: str) -> dict[str, Any]:
    assert file.exists(), said
    [row] = orjson.loads(file.read_bytes())
    assert row["users"] == 3
    return dict(row)


@pytest.mark.parametrize("kind", KINDS)
async def test_users_of_grpc_are_answered(tmp_path: Path, kind: str) -> None:
    row = await measured(kind, tmp_path / "rows", World.reply)
    assert row["requests"] > 3
    assert row["errors"] == 0, row["why"]


@pytest.mark.parametrize("kind", KINDS)
async def test_a_failure_is_counted_and_why(tmp_path: Path, kind: str) -> None:
    error = {"code": "schema", "reason": "no", "retryable": False}

    def fail(world: World, record: Any) -> None:
        world.reply(record, status="error", payload={"error": error})

    row = await measured(kind, tmp_path / "rows", fail)
    assert (row["requests"], row["errors"] > 3) == (0, True)
    assert any("schema" in why or "INVALID_ARGUMENT" in why for why in row["why"])


@pytest.mark.parametrize("kind", KINDS)
async def test_a_gateway_that_is_away_is_counted_at_once(tmp_path: Path, kind: str) -> None:
    row = await measured(kind, tmp_path / "rows", World.reply, f"127.0.0.1:{free_port()}")
    assert (row["requests"], row["errors"] > 3) == (0, True)
    assert any("UNAVAILABLE" in why for why in row["why"])
