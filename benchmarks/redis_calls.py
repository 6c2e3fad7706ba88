"""What a call of a Lua script in Redis costs the process that calls: redis-py's own way beside `RedisScript`.

    python -m benchmarks.redis_calls [--runs 5] [--calls 2000]

Both claim the same number of ids that are new, in turns, on uvloop, in a Redis that is started for it. Microseconds
of this process's CPU a call, what the ids themselves cost included: the median and the spread of the runs.
"""

import argparse
import asyncio
import statistics
import sys
import time
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import redis.asyncio
import uvloop

from workers.local.children import Child
from workers.local.free_ports import Ports
from workers.local.probes import redis_ready
from workers.local.redis import redis_command, redis_server
from workers.stores.redis_leases import text_of
from workers.stores.redis_link import RedisScript
from workers.stores.redis_operations import Do, Operation, Script, written

SCRIPT = Script("outcomes.lua", ["token"], [60_000, 60_000], "id:")
IDS = (1, 5, 20, 64)
TIMEOUT = 10.0  # seconds
Ask = Callable[[Sequence[str], Sequence[bytes | str | int]], Awaitable[Any]]


async def _cpu_us(ask: Ask, ids: int, calls: int, label: str) -> float:
    began = time.process_time()
    for call in range(calls):
        operations = [Operation(Do.CLAIM, f"{label}-{call}-{number}") for number in range(ids)]
        await ask(*written(SCRIPT, operations))
    return (time.process_time() - began) / calls * 1e6


async def _compare(url: str, runs: int, calls: int) -> None:
    client = redis.asyncio.from_url(url, socket_timeout=TIMEOUT)
    theirs = client.register_script(text_of(SCRIPT))
    ours = RedisScript(url, text_of(SCRIPT), TIMEOUT)
    ways: dict[str, Ask] = {"redis-py": lambda keys, args: theirs(keys=keys, args=args), "RedisScript": ours}
    _row("ids a call", [f"{way}, us a call" for way in ways])
    for ids in IDS:
        found: dict[str, list[float]] = {way: [] for way in ways}
        for run in range(-1, runs):  # the first is for warming up
            for way, ask in ways.items():
                cost = await _cpu_us(ask, ids, calls, f"{way}-{ids}-{run}")
                if run >= 0:
                    found[way].append(cost)
        cells = [
            f"{statistics.median(each):.0f} ({min(each):.0f} to {max(each):.0f})" for each in found.values()
        ]
        _row(str(ids), cells)
    await ours.close()
    await client.aclose()


def _row(first: str, cells: Sequence[str]) -> None:
    sys.stdout.write(f"{first:>10}" + "".join(f"{cell:>32}" for cell in cells) + "\n")


async def _until_ready(port: int) -> None:
    probe = redis_ready(port)
    for _ in range(200):
        if await probe() is None:
            return
        await asyncio.sleep(0.05)
    raise SystemExit("the Redis does not start")


async def _measure(runs: int, calls: int) -> None:
    port = Ports().take(28_379)
    with TemporaryDirectory() as home:
        command = redis_command(redis_server(), Path(home) / "data", port)
        server = await Child.spawn(command, log=Path(home) / "log", environment={}, directory=Path(home))
        try:
            await _until_ready(port)
            await _compare(f"redis://127.0.0.1:{port}/0", runs, calls)
        finally:
            server.kill()
            await server.wait()


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n", 1)[0])
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--calls", type=int, default=2000)
    given = parser.parse_args()
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(_measure(given.runs, given.calls))


if __name__ == "__main__":
    main()
