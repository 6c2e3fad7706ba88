"""How many calls a second the stub backend answers at most, so that nobody mistakes it for what is measured.

    python -m benchmarks.load.ceiling http://127.0.0.1:8091

The client is as bare as the stub: the same bytes again and again, one call at a time on each of 64 connections. Stub
and client share the machine, so this is a lower bound.
"""

import asyncio
import sys
import time
from typing import cast

import orjson
import uvloop

CONNECTIONS = 64
_END_OF_HEAD = b"\r\n\r\n"
_BODY = orjson.dumps({"messages": [{"role": "user", "content": "推荐一款5000元以内的笔记本电脑"}]})


class Caller(asyncio.Protocol):
    """Asks again as soon as it is answered, once for each whole answer."""

    def __init__(self, request: bytes) -> None:
        self._request = request
        self._transport: asyncio.Transport | None = None
        self._size = 0  # bytes of an answer: all are alike
        self._bytes = 0
        self.answers = 0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)
        self._transport.write(self._request)

    def data_received(self, data: bytes) -> None:
        self._size = self._size or _size(data)
        self._bytes += len(data)
        whole, self._bytes = divmod(self._bytes, self._size)
        self.answers += whole
        if self._transport is not None and whole:
            self._transport.write(self._request)

    def connection_lost(self, exc: Exception | None) -> None:
        self._transport = None

    def close(self) -> None:
        if self._transport is not None:
            self._transport.abort()


def _size(answer: bytes) -> int:
    """Bytes of the answer that begins here."""
    head, _, _ = answer.partition(_END_OF_HEAD)
    return len(head) + len(_END_OF_HEAD) + int(head.rpartition(b"Content-Length: ")[2].split(b"\r\n")[0])


async def measure(url: str, seconds: float) -> float:
    """Calls a second."""
    host, _, port = url.removeprefix("http://").partition(":")
    head = f"POST /v1/chat/completions HTTP/1.1\r\nHost: {host}\r\nContent-Length: {len(_BODY)}\r\n\r\n"
    loop = asyncio.get_running_loop()
    callers = []
    for _ in range(CONNECTIONS):
        _, caller = await loop.create_connection(lambda: Caller(head.encode() + _BODY), host, int(port))
        callers.append(caller)
    await asyncio.sleep(0.3)
    before, began = sum(caller.answers for caller in callers), time.perf_counter()
    await asyncio.sleep(seconds)
    answers, took = sum(caller.answers for caller in callers) - before, time.perf_counter() - began
    for caller in callers:
        caller.close()
    return answers / took


if __name__ == "__main__":
    sys.stdout.write(f"{uvloop.run(measure(sys.argv[1].rstrip('/'), 2.0)):.0f}\n")
