"""gRPC load in a process of its own, open loop: `python -m benchmarks.load.grpc SPEC`.

SPEC is JSON, see `Spec`; the raw numbers are those of `benchmarks.load.http`.
"""

import asyncio
import sys
from contextlib import suppress
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from typing import Any

import numpy as np
import orjson
import uvloop
from grpc import RpcError, aio
from grpc.aio import EOF

from benchmarks.load.spec import LoadSpec
from schemas import relayfleet_pb2 as wire
from schemas.relayfleet_pb2_grpc import MessageRouterStub

_OK, _AWAY = 200, 0  # as HTTP would say
_ENDED = (RpcError, asyncio.InvalidStateError)  # what writing raises when the stream is over
_LONGEST = 60.0  # seconds for one call


@dataclass(frozen=True, slots=True)
class Spec(LoadSpec):
    """What to ask: `url` is HOST:PORT, `body` the text. Always an open loop: it needs a `rate`."""

    gather: float = 0.0  # seconds; more than 0: all questions on one stream, gathered for so long


class GrpcLoad:
    """The calls of one spec, on one channel."""

    def __init__(self, spec: Spec, router: Any) -> None:
        self._spec = spec
        self._router = router
        self._waiting: list[wire.ConverseRequest] = []
        self._due: dict[str, float] = {}
        self.rows: list[tuple[float, float, int]] = []  # intended, finished, status

    async def alone(self) -> None:
        """A call a question."""
        async with asyncio.TaskGroup() as calls:
            async for due in self._spec.times():
                calls.create_task(self._call(due))

    async def together(self) -> None:
        """One call for all questions, as many in a message as came within `gather` seconds."""
        stream = self._router.ConverseMany()
        reading = asyncio.create_task(self._read(stream))
        sending: asyncio.Task[None] | None = None
        names = map(str, count())
        async for due in self._spec.times():
            name = next(names)
            self._due[name] = due
            self._waiting.append(wire.ConverseRequest(id=name, request=self._question()))
            if sending is None or sending.done():
                sending = asyncio.create_task(self._send(stream))
        if sending is not None:
            await sending
        with suppress(*_ENDED):
            await stream.done_writing()
        await reading

    def _question(self) -> wire.RequestMessage:
        return wire.RequestMessage(input_text=self._spec.body)

    async def _call(self, due: float) -> None:
        try:
            answer = await self._router.ForwardRequest(self._question(), timeout=_LONGEST)
            self._note(due, answer)
        except RpcError:
            self._note(due, None)

    async def _send(self, stream: Any) -> None:
        while self._waiting:
            await asyncio.sleep(self._spec.gather)
            asked, self._waiting = self._waiting, []
            with suppress(*_ENDED):
                await stream.write(wire.ConverseRequests(requests=asked))

    async def _read(self, stream: Any) -> None:
        with suppress(RpcError):
            while (message := await stream.read()) is not EOF:
                for reply in message.replies:
                    self._note(self._due.pop(reply.id), reply.response)
        for due in self._due.values():
            self._note(due, None)

    def _note(self, due: float, answer: wire.ResponseMessage | None) -> None:
        status = _OK if answer is not None and answer.status == "ok" else _AWAY
        self.rows.append((due, self._spec.now(), status))


async def run(spec: Spec) -> dict[str, Any]:
    """Ask on one channel, keep the raw numbers, and tell how many questions there were."""
    async with aio.insecure_channel(spec.url, options=(("grpc.enable_http_proxy", 0),)) as channel:
        load = GrpcLoad(spec, MessageRouterStub(channel))
        await (load.together() if spec.gather else load.alone())
    found = np.asarray(sorted(load.rows), dtype=np.float64).reshape(-1, 3)
    np.savez_compressed(
        Path(spec.out),
        intended=found[:, 0],
        finished=found[:, 1],
        status=found[:, 2],
        timings=np.empty((0, 4)),
    )
    return {"count": len(found)}


if __name__ == "__main__":
    sys.stdout.buffer.write(orjson.dumps(uvloop.run(run(Spec(**orjson.loads(sys.argv[1]))))))
