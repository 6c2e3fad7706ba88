"""Calls a second of the OpenAI backend, beside pyreqwest called with no backend around it.

    python -m benchmarks.backend [--calls 30000] [--runs 3]

Both share the machine with the stub model that answers them. The bare client sends a body made beforehand and throws
the answer away; the backend renders the request, sends ids and reads the answer.
"""

import argparse
import asyncio
import os
import sys
import time
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import dataclass
from statistics import median

import orjson
import uvloop
from pyreqwest.client import ClientBuilder

from benchmarks.parts import stub_model
from schemas.envelope import Payload, Request
from workers.backends.openai import OpenAIBackend
from workers.core.clock import SystemClock
from workers.core.ports import Call
from workers.core.topology.model import Instance, OpenAITarget

TEXT = "推荐一款5000元以内的笔记本电脑"
IN_FLIGHT = (64, 500)

OneCall = Callable[[int], Awaitable[None]]


@dataclass(frozen=True, slots=True)
class Result:
    """One run: calls a second, and microseconds of this process's CPU a call."""

    rate: float
    cpu: float


async def drive(one: OneCall, calls: int, in_flight: int) -> Result:
    """Make `calls` calls, `in_flight` at a time."""
    numbers = iter(range(calls))
    began, cpu = time.perf_counter(), time.process_time()
    await asyncio.gather(*(_lane(one, numbers) for _ in range(in_flight)))
    return Result(calls / (time.perf_counter() - began), (time.process_time() - cpu) / calls * 1e6)


async def _lane(one: OneCall, numbers: Iterator[int]) -> None:
    for number in numbers:
        await one(number)


async def bare(url: str, calls: int, in_flight: int) -> Result:
    """pyreqwest and nothing else."""
    body = orjson.dumps({"messages": [{"role": "user", "content": TEXT}]})
    async with ClientBuilder().no_proxy().build() as client:

        async def one(_: int) -> None:
            response = await client.post(f"{url}/chat/completions").body_bytes(body).build().send()
            await response.bytes()

        await drive(one, calls // 10, in_flight)
        return await drive(one, calls, in_flight)


async def backend(url: str, calls: int, in_flight: int) -> Result:
    """The backend as a worker uses it."""
    instance = Instance(url=url, concurrency=in_flight)
    opened = OpenAIBackend(instance, OpenAITarget(type="openai", instances=(instance,)), SystemClock())

    async def one(number: int) -> None:
        request = Request(message_id=f"m{number}", source="bench", payload=Payload(text=TEXT), timestamp=1)
        await opened.call(Call(request, 30.0))

    await drive(one, calls // 10, in_flight)
    result = await drive(one, calls, in_flight)
    await opened.close()
    return result


def main() -> None:
    """Run both, turn by turn, and print the medians."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.backend", description=__doc__.split("\n")[0])
    parser.add_argument("--calls", type=int, default=30_000)
    parser.add_argument("--runs", type=int, default=3)
    given = parser.parse_args()
    sys.stdout.write(f"{os.cpu_count()} cores, stub model beside it; medians of {given.runs}\n")
    sys.stdout.write(
        f"{'in flight':>9} {'bare calls/s':>13} {'CPU us':>7} {'backend calls/s':>16} {'CPU us':>7}\n"
    )
    with stub_model() as stub:
        for in_flight in IN_FLIGHT:
            pairs = [
                [uvloop.run(run(f"{stub}/v1", given.calls, in_flight)) for run in (bare, backend)]
                for _ in range(given.runs)
            ]
            plain, ours = ([pair[side] for pair in pairs] for side in (0, 1))
            sys.stdout.write(
                f"{in_flight:9} {median(run.rate for run in plain):13,.0f} {median(run.cpu for run in plain):7.1f}"
                f" {median(run.rate for run in ours):16,.0f} {median(run.cpu for run in ours):7.1f}\n"
            )


if __name__ == "__main__":
    main()
