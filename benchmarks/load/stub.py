"""A model server for measuring: OpenAI's chat completions at the least work a request that Python allows.

    python -m benchmarks.load.stub --port 8091 --delay-ms 200 --delay-shape lognormal --error-rate 0.01

Answers are made beforehand, and requests are searched rather than parsed, so that it is never what is measured; the
fleet's own stub (`workers.local.stub_model`) fails in more ways. `GET /stub/calls` tells what was paid for twice.
It listens on the loopback interface only.
"""

import argparse
import asyncio
import math
import random
import signal
from collections import Counter
from dataclasses import dataclass, fields
from typing import cast

import orjson
import uvloop

TEXT = "This is the stub model: it has no opinion, but it has answered."
_USAGE = {"prompt_tokens": 8, "completion_tokens": 16, "total_tokens": 24}
_HEAD = {"id": "stub", "created": 0, "model": "stub"}
_END_OF_HEAD = b"\r\n\r\n"


@dataclass(frozen=True, slots=True)
class Behaviour:
    """How it answers. Times are milliseconds, rates shares of calls; `seed` makes them repeatable."""

    delay_ms: float = 0.0
    delay_shape: str = "constant"  # or exponential, or lognormal: both have the mean `delay_ms`
    delay_sigma: float = 0.5  # of a lognormal delay
    chunk_delay_ms: float = 0.0  # between the pieces of a stream
    error_rate: float = 0.0
    error_status: int = 503
    retry_after: str = ""  # seconds, as the header of an error
    seed: int = 1
    remember: int = 0  # 1: count answers by x-request-id


class Delays:
    """Draws how long each answer takes, in seconds."""

    def __init__(self, behaviour: Behaviour, dice: random.Random) -> None:
        self._mean = behaviour.delay_ms / 1000
        self._sigma = behaviour.delay_sigma
        shapes = {"constant": self._constant, "exponential": self._exponential, "lognormal": self._lognormal}
        self.draw = shapes[behaviour.delay_shape]
        self._dice = dice

    def _constant(self) -> float:
        return self._mean

    def _exponential(self) -> float:
        return self._dice.expovariate(1 / self._mean) if self._mean else 0.0

    def _lognormal(self) -> float:
        if not self._mean:
            return 0.0
        return self._dice.lognormvariate(math.log(self._mean) - self._sigma**2 / 2, self._sigma)


class Stub:
    """What all connections share."""

    def __init__(self, behaviour: Behaviour) -> None:
        self.behaviour = behaviour
        self._dice = random.Random(behaviour.seed)
        self._delays = Delays(behaviour, self._dice)
        self._error_rate = behaviour.error_rate
        self.paid: Counter[bytes] = Counter()
        self.answered = 0
        self.whole = _response(200, orjson.dumps(_completion()))
        self.refusal = _refusal(behaviour)
        self.pieces = _pieces()

    def report(self) -> bytes:
        """`answered`, and by id the answers `paid_twice`."""
        twice = {name.decode("latin-1"): count for name, count in self.paid.items() if count > 1}
        return _response(200, orjson.dumps({"answered": self.answered, "paid_twice": twice}))

    def fails(self) -> bool:
        """Whether this call is answered with an error."""
        return self._error_rate > 0 and self._dice.random() < self._error_rate

    def delay(self) -> float:
        """Seconds until this call is answered."""
        return self._delays.draw()


class Connection(asyncio.Protocol):
    """One client. Requests need a Content-Length; pipelined ones are answered in order where there is no delay."""

    def __init__(self, stub: Stub) -> None:
        self._stub = stub
        self._buffer = b""
        self._transport: asyncio.Transport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """See `asyncio.Protocol`."""
        self._transport = cast("asyncio.Transport", transport)

    def connection_lost(self, exc: Exception | None) -> None:
        """See `asyncio.Protocol`."""
        self._transport = None

    def data_received(self, data: bytes) -> None:
        """See `asyncio.Protocol`."""
        buffer = self._buffer + data if self._buffer else data
        while buffer:
            end = buffer.find(_END_OF_HEAD)
            if end < 0:
                break
            length = _number_after(buffer, b"ontent-length: ", end) or _number_after(
                buffer, b"ontent-Length: ", end
            )
            whole = end + 4 + length
            if len(buffer) < whole:
                break
            self._answer(buffer[:whole], end)
            buffer = buffer[whole:]
        self._buffer = buffer

    def _answer(self, request: bytes, end: int) -> None:
        stub = self._stub
        if request.startswith(b"GET "):
            known = request.startswith(b"GET /stub/calls")
            self._write(stub.report() if known else _response(200, b'{"status":"ok"}'))
            return
        refused = stub.fails()
        delay = stub.delay()
        if delay:
            asyncio.get_running_loop().call_later(delay, self._send, request, end, refused)
        else:
            self._send(request, end, refused)

    def _send(self, request: bytes, end: int, refused: bool) -> None:
        stub = self._stub
        if refused:
            self._write(stub.refusal)
            return
        stub.answered += 1
        if stub.behaviour.remember:
            stub.paid[_text_after(request, b"x-request-id: ", end)] += 1
        if b'"stream":true' in request or b'"stream": true' in request:
            self._stream(stub.pieces)
        else:
            self._write(stub.whole)

    def _stream(self, pieces: tuple[bytes, ...]) -> None:
        """The pieces one by one."""
        pause = self._stub.behaviour.chunk_delay_ms / 1000
        self._write(pieces[0])
        if len(pieces) > 1:
            asyncio.get_running_loop().call_later(pause, self._stream, pieces[1:])

    def _write(self, data: bytes) -> None:
        if self._transport is not None and not self._transport.is_closing():
            self._transport.write(data)


def _number_after(buffer: bytes, name: bytes, end: int) -> int:
    text = _text_after(buffer, name, end)
    return int(text) if text else 0


def _text_after(buffer: bytes, name: bytes, end: int) -> bytes:
    at = buffer.find(name, 0, end)
    if at < 0:
        return b""
    return buffer[at + len(name) : buffer.find(b"\r\n", at)]


def _completion() -> dict[str, object]:
    message = {"role": "assistant", "content": TEXT}
    choice = {"index": 0, "message": message, "finish_reason": "stop"}
    return {**_HEAD, "object": "chat.completion", "choices": [choice], "usage": _USAGE}


def _response(status: int, body: bytes, extra: str = "") -> bytes:
    head = (
        f"HTTP/1.1 {status} X\r\nContent-Type: application/json\r\n{extra}Content-Length: {len(body)}\r\n\r\n"
    )
    return head.encode() + body


def _refusal(behaviour: Behaviour) -> bytes:
    body = orjson.dumps({"error": {"message": "the stub was told to fail", "type": "stub_error"}})
    extra = f"Retry-After: {behaviour.retry_after}\r\n" if behaviour.retry_after else ""
    return _response(behaviour.error_status, body, extra)


def _pieces() -> tuple[bytes, ...]:
    """A stream: its head, a chunk a word, the end."""
    words = TEXT.split(" ")
    deltas: list[tuple[dict[str, str], str | None]] = [({"role": "assistant", "content": words[0]}, None)]
    deltas += [({"content": f" {word}"}, None) for word in words[1:]]
    events = [_event(delta, reason) for delta, reason in [*deltas, ({}, "stop")]]
    last = {**_HEAD, "object": "chat.completion.chunk", "choices": [], "usage": _USAGE}
    data = [*(b"data: " + orjson.dumps(event) for event in [*events, last]), b"data: [DONE]"]
    head = b"HTTP/1.1 200 X\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n"
    chunks = [b"%x\r\n%b\n\n\r\n" % (len(line) + 2, line) for line in data]
    return (head, *chunks, b"0\r\n\r\n")


def _event(delta: dict[str, str], reason: str | None) -> dict[str, object]:
    choice = {"index": 0, "delta": delta, "finish_reason": reason}
    return {**_HEAD, "object": "chat.completion.chunk", "choices": [choice]}


async def _serve(behaviour: Behaviour, port: int) -> None:
    stub = Stub(behaviour)
    loop = asyncio.get_running_loop()
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    server = await loop.create_server(lambda: Connection(stub), "127.0.0.1", port, backlog=4096)
    await stop.wait()
    server.close()


def main() -> None:
    """Serve until SIGTERM or SIGINT."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.load.stub", description=__doc__.split("\n")[0]
    )
    parser.add_argument("--port", type=int, required=True)
    for field in fields(Behaviour):
        parser.add_argument(
            f"--{field.name.replace('_', '-')}", type=type(field.default), default=field.default
        )
    given = vars(parser.parse_args())
    port = given.pop("port")
    uvloop.run(_serve(Behaviour(**given), port))


if __name__ == "__main__":
    main()
