"""gRPC load in a process of its own, open loop: `python -m benchmarks.load.grpc SPEC`.

SPEC is JSON, see `Spec`; the raw numbers are those of `benchmarks.load.http`.
"""

import asyncio
import sys
import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import orjson
from grpc import RpcError, aio

from benchmarks.load.schedule import Arrivals, Schedule
from schemas import relayfleet_pb2 as wire
from schemas.relayfleet_pb2_grpc import MessageRouterStub

_OK, _AWAY = 200, 0  # as HTTP would say


@dataclass(frozen=True, slots=True)
class Spec:
    """What to ask: `url` is HOST:PORT, `body` the text. `start` is a moment of the monotonic clock."""

    url: str
    body: str
    start: float
    seconds: float
    out: str
    rate: float
    users: int = 0  # as `http.Spec` has it; here always an open loop
    arrivals: Arrivals = "uniform"
    seed: int = 1
    headers: Mapping[str, str] = field(default_factory=dict)

    def command(self) -> list[str]:
        """The process that does it."""
        return [sys.executable, "-m", "benchmarks.load.grpc", orjson.dumps(asdict(self)).decode()]


async def run(spec: Spec) -> dict[str, Any]:
    """Make the calls on one channel, keep the raw numbers, and tell how many there were."""
    rows: list[tuple[float, float, int]] = []
    async with aio.insecure_channel(spec.url, options=(("grpc.enable_http_proxy", 0),)) as channel:
        ask = MessageRouterStub(channel).ForwardRequest

        async def call(due: float) -> None:
            try:
                answer = await ask(wire.RequestMessage(input_text=spec.body), timeout=60)
                status = _OK if answer.status == "ok" else _AWAY
            except RpcError:
                status = _AWAY
            rows.append((due, time.monotonic() - spec.start, status))

        async with asyncio.TaskGroup() as calls:
            for due in Schedule(spec.rate, spec.seconds, spec.arrivals, spec.seed).times().tolist():
                ahead = spec.start + due - time.monotonic()
                if ahead > 0:
                    await asyncio.sleep(ahead)
                calls.create_task(call(due))
    found = np.asarray(sorted(rows), dtype=np.float64).reshape(-1, 3)
    np.savez_compressed(
        Path(spec.out),
        intended=found[:, 0],
        finished=found[:, 1],
        status=found[:, 2],
        timings=np.empty((0, 4)),
    )
    return {"count": len(found)}


if __name__ == "__main__":
    sys.stdout.buffer.write(orjson.dumps(asyncio.run(run(Spec(**orjson.loads(sys.argv[1]))))))
