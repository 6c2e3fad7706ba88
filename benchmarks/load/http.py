"""HTTP load in a process of its own: `python -m benchmarks.load.http SPEC`, with SPEC as JSON, see `Spec`.

Open loop: calls at their intended times, whether earlier ones came back or not. Users: so many, each with one call
under way at a time, begun at most every `pace` seconds. Latency counts from the intended time in both.
"""

import asyncio
import sys
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from math import isnan, nan
from pathlib import Path
from typing import Any

import numpy as np
import orjson
import uvloop
from pyreqwest.client import Client, ClientBuilder
from pyreqwest.exceptions import PyreqwestError
from pyreqwest.request import RequestBuilder

from benchmarks.load.spec import LoadSpec

_AWAY = 0  # the status of a call that got none
_TIMES = ("queued", "routed", "model", "total")
_EVENT = b"data: "  # begins each server-sent event
_PAUSE = 0.2  # seconds before a call is made again
_LATER = frozenset({_AWAY, 502, 503, 504})  # what a careful client asks again after


@dataclass(frozen=True, slots=True)
class Spec(LoadSpec):
    """What to ask, with JSON as `body`."""

    pace: float = 0.0  # seconds between the beginnings of a user's calls, at least
    headers: Mapping[str, str] = field(default_factory=dict)
    ids: str = ""  # a prefix: give each call a message_id of its own, numbered from 0
    persist: float = 0.0  # seconds for which a call without an answer is made again, under the same id
    stream: bool = False  # answers come as server-sent events


class HttpLoad:
    """The calls of one spec."""

    def __init__(self, spec: Spec, client: Client) -> None:
        self._spec = spec
        self._client = client
        self._body = spec.body.encode()
        self._count = 0
        # intended, finished, status; of a stream the time of its first event, and how many it had; the answer's timing
        self.rows: list[tuple[float, ...]] = []

    async def open_loop(self) -> None:
        """Send at the scheduled times, then wait for the last answer."""
        async with asyncio.TaskGroup() as calls:
            async for due in self._spec.times():
                calls.create_task(self._call(due))

    async def as_users(self) -> None:
        """So many at once until the time is over."""
        async with asyncio.TaskGroup() as users:
            for number in range(self._spec.users):
                users.create_task(self._user(number))

    async def _user(self, number: int) -> None:
        spec = self._spec
        # Spread over one pace, or over a tenth of a second, so that users don't move as one.
        due = (spec.pace or 0.1) * number / spec.users
        while due < spec.seconds:
            await spec.until(due)
            await self._call(due)
            due = max(due + spec.pace, 0.0 if spec.pace else spec.now())

    async def _call(self, due: float) -> None:
        spec = self._spec
        body = self._content()
        status, content = await self._ask(body)
        while status in _LATER and spec.now() < due + spec.persist:
            await asyncio.sleep(_PAUSE)
            status, content = await self._ask(body)
        self.rows.append((due, self._spec.now(), status, nan, 0, *_timing(content)))

    async def _ask(self, body: bytes) -> tuple[int, bytes]:
        try:
            response = await self._request(body).build().send()
            return int(response.status), bytes(await response.bytes())
        except PyreqwestError:
            return _AWAY, b""

    def _request(self, body: bytes) -> RequestBuilder:
        request = self._client.post(self._spec.url).body_bytes(body)
        request = request.header("content-type", "application/json")
        for name, value in self._spec.headers.items():
            request = request.header(name, value)
        return request

    def _content(self) -> bytes:
        if not self._spec.ids:
            return self._body
        number, self._count = self._count, self._count + 1
        return b'{"message_id":"%b-%d",%b' % (self._spec.ids.encode(), number, self._body[1:])


def _timing(content: bytes) -> tuple[float, ...]:
    """Milliseconds: queued, routed, model, total; NaN where an answer does not tell."""
    if b'"timing"' not in content:
        return (nan,) * len(_TIMES)
    timing = orjson.loads(content).get("timing") or {}
    return tuple(timing.get(name) or 0.0 for name in _TIMES)


class StreamLoad(HttpLoad):
    """The same of answers that come piece by piece."""

    async def _call(self, due: float) -> None:
        first, count, status = nan, 0, _AWAY
        with suppress(PyreqwestError):
            request = self._request(self._content()).streamed_read_buffer_limit(0)  # not before there is more
            async with request.build_streamed() as response:
                while (data := await response.body_reader.read_chunk()) is not None:
                    count += bytes(data).count(_EVENT)
                    if count and isnan(first):
                        first = self._spec.now()
                status = int(response.status)
        self.rows.append((due, self._spec.now(), status, first, count, *_timing(b"")))


async def run(spec: Spec) -> dict[str, Any]:
    """Make the calls, keep the raw numbers, and tell how many there were."""
    async with ClientBuilder().no_proxy().build() as client:
        load = (StreamLoad if spec.stream else HttpLoad)(spec, client)
        await (load.open_loop() if spec.rate else load.as_users())
    rows = np.asarray(sorted(load.rows), dtype=np.float64).reshape(-1, 5 + len(_TIMES))
    intended, finished, status, first, pieces = rows[:, :5].T
    np.savez_compressed(
        Path(spec.out),
        timings=rows[:, 5:],
        intended=intended,
        finished=finished,
        status=status,
        first=first,
        pieces=pieces,
    )
    return {"count": len(rows)}


if __name__ == "__main__":
    sys.stdout.buffer.write(orjson.dumps(uvloop.run(run(Spec(**orjson.loads(sys.argv[1]))))))
