"""A stand-in for a model server: OpenAI's chat completions without a model, fast enough not to be what is measured.

    python -m workers.local.stub_model --port 8091 --delay-ms 200 --error-rate 0.3

It listens on the loopback interface only and answers the same text to everything. `GET /stub/calls` tells which
`x-request-id` came more than once; `POST /stub/faults` changes how it misbehaves while it runs.
"""

import argparse
import asyncio
import random
import signal
from collections import OrderedDict
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from typing import Any, Literal

import orjson
import structlog
import uvloop
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from workers.local.stub_completion import Completion
from workers.local.stub_http import HttpConnection, Reply, Request

TEXT = "This is the stub model: it has no opinion, but it has answered."
_TURNS_OF_AN_ACCEPT = 5
Fate = Literal["answer", "error", "hang", "half_json", "reset"]


class Faults(BaseModel):
    """How the stub misbehaves. Rates are shares of calls and are drawn once a call, so together at most 1."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    delay_ms: float = Field(default=0, ge=0, description="milliseconds before an answer or an error")
    chunk_delay_ms: float = Field(default=0, ge=0, description="milliseconds between pieces of a stream")
    error_rate: float = Field(
        default=0, ge=0, le=1, description="share of calls answered with --error-status"
    )
    error_status: int = Field(
        default=500, ge=200, le=599, description="status of an error; 200 is possible too"
    )
    error_code: str | None = Field(default=None, description="`error.code` in the body of an error")
    retry_after: str | None = Field(default=None, pattern=r"^[\x20-\x7e]+$", description="header of an error")
    hang_rate: float = Field(default=0, ge=0, le=1, description="share of calls that are never answered")
    half_json_rate: float = Field(
        default=0, ge=0, le=1, description="share of answers that end in the middle"
    )
    reset_rate: float = Field(default=0, ge=0, le=1, description="share of calls whose connection is reset")
    finish_reason: str = Field(default="stop", description="`finish_reason` of an answer")
    answer_bytes: int = Field(default=0, ge=0, description="pad the answer to this many bytes")
    piece_chars: int = Field(default=0, ge=0, description="characters in a piece of a stream; 0: a word")
    break_after: int = Field(default=1, ge=0, description="pieces of a stream before a fault strikes")
    tool_calls: bool = Field(default=False, description="call the first of the request's tools instead")

    def fates(self) -> tuple[tuple[Fate, float], ...]:
        """What can happen to a call other than an answer, with its share."""
        return (
            ("error", self.error_rate),
            ("hang", self.hang_rate),
            ("half_json", self.half_json_rate),
            ("reset", self.reset_rate),
        )


class Calls:
    """Counts the last `remember` calls by id: how often it was asked, and how often it was answered in full."""

    def __init__(self, remember: int = 1_000_000) -> None:
        self._remember = remember
        self.clear()

    def clear(self) -> None:
        """Start counting anew."""
        self.total = 0
        self.answered = 0
        self._by_id: OrderedDict[str, list[int]] = OrderedDict()

    def asked(self, call_id: str | None) -> None:
        """A call came in."""
        self.total += 1
        if call_id is None:
            return
        entry = self._by_id.get(call_id)
        if entry is not None:
            entry[0] += 1
            return
        self._by_id[call_id] = [1, 0]
        if len(self._by_id) > self._remember:
            self._by_id.popitem(last=False)

    def paid(self, call_id: str | None) -> None:
        """A call was answered in full."""
        self.answered += 1
        if call_id is not None and (entry := self._by_id.get(call_id)) is not None:
            entry[1] += 1

    def report(self) -> dict[str, Any]:
        """`total`, `answered`, `ids`, and by id: `repeated` calls and answers `paid_twice`, where more than one."""
        return {
            "total": self.total,
            "answered": self.answered,
            "ids": len(self._by_id),
            "repeated": {name: asked for name, (asked, _) in self._by_id.items() if asked > 1},
            "paid_twice": {name: paid for name, (_, paid) in self._by_id.items() if paid > 1},
        }


class StubModel:
    """The stub's behaviour, whatever carries it. `echo` answers with the last message instead of a fixed text."""

    def __init__(self, faults: Faults | None = None, *, seed: int | None = None, echo: bool = False) -> None:
        self.faults = faults or Faults()
        self.calls = Calls()
        self._random = random.Random(seed)  # noqa: S311 - a test double's dice
        self._echo = echo
        self._routes: dict[tuple[bytes, bytes], Callable[[Request, Reply], None]] = {
            (b"POST", b"/v1/chat/completions"): self._complete,
            (b"GET", b"/v1/models"): lambda _, reply: reply.json(200, _MODELS),
            (b"GET", b"/health"): lambda _, reply: reply.json(200, {"status": "ok"}),
            (b"GET", b"/stub/calls"): lambda _, reply: reply.json(200, self.calls.report()),
            (b"DELETE", b"/stub/calls"): self._forget,
            (b"GET", b"/stub/faults"): lambda _, reply: reply.json(200, self.faults.model_dump()),
            (b"POST", b"/stub/faults"): self._misbehave,
        }

    def handle(self, request: Request, reply: Reply) -> None:
        """Answer one HTTP request, now or later, or never."""
        handler = self._routes.get((request.method, request.path))
        if handler is None:
            reply.json(404, _error("no such page", "not_found"))
            return
        handler(request, reply)

    def _forget(self, _: Request, reply: Reply) -> None:
        self.calls.clear()
        reply.json(200, self.calls.report())

    def _misbehave(self, request: Request, reply: Reply) -> None:
        try:
            self.faults = Faults.model_validate_json(request.body or b"{}")
        except ValidationError as error:
            reply.json(400, _error(str(error), "bad_faults"))
            return
        reply.json(200, self.faults.model_dump())

    def _complete(self, request: Request, reply: Reply) -> None:
        try:
            body = orjson.loads(request.body)
            text = str(body["messages"][-1]["content"]) if self._echo else TEXT
            stream = body.get("stream") is True
            tool = (
                body["tools"][0]["function"]["name"] if self.faults.tool_calls and "tools" in body else None
            )
        except (orjson.JSONDecodeError, LookupError, TypeError, AttributeError):
            reply.json(400, _error("the body is not a chat completion request", "invalid_request"))
            return
        self.calls.asked(request.call_id)
        faults = self.faults
        answer = _Completion(self, request.call_id, self._completion(body, text, tool), self._fate())
        send = answer.stream if stream and answer.fate != "error" else answer.whole
        if faults.delay_ms:
            reply.later(faults.delay_ms / 1000, send)
        else:
            send(reply)

    def _completion(self, body: dict[str, Any], text: str, tool: str | None) -> Completion:
        faults = self.faults
        return Completion(
            body,
            self.calls.total,
            text.ljust(faults.answer_bytes, "."),
            faults.finish_reason if tool is None else "tool_calls",
            faults.piece_chars,
            tool,
        )

    def _fate(self) -> Fate:
        draw: float | None = None
        for fate, rate in self.faults.fates():
            if rate:
                draw = self._random.random() if draw is None else draw
                if draw < rate:
                    return fate
                draw -= rate
        return "answer"


class _Completion:
    """One answer on its way out; what befalls it was decided when it was asked for."""

    def __init__(self, stub: StubModel, call_id: str | None, completion: Completion, fate: Fate) -> None:
        self.fate = fate
        self._stub = stub
        self._faults = stub.faults
        self._call_id = call_id
        self._completion = completion

    def whole(self, reply: Reply) -> None:
        """Send it in one piece."""
        if self.fate == "answer":
            self._stub.calls.paid(self._call_id)
            reply.json(200, self._completion.whole())
        elif self.fate == "error":
            body = _error("the stub was told to fail", self._faults.error_code)
            reply.json(self._faults.error_status, body, retry_after=self._faults.retry_after)
        elif self.fate == "half_json":
            data = orjson.dumps(self._completion.whole())
            reply.raw(200, data[: len(data) // 2])
        elif self.fate == "reset":
            reply.reset()

    def stream(self, reply: Reply) -> None:
        """Send it piece by piece as server-sent events; a fault strikes after the first, or where it was told to."""
        if self.fate == "hang":
            return
        pieces, delay = self._completion.pieces(), self._faults.chunk_delay_ms / 1000
        if self.fate == "answer":
            self._stub.calls.paid(self._call_id)
            reply.stream(pieces, delay)
        else:
            broken = pieces[: self._faults.break_after]
            reply.stream(broken, delay, then="reset" if self.fate == "reset" else "end")


_MODELS = {"object": "list", "data": [{"id": "stub", "object": "model", "created": 0, "owned_by": "stub"}]}


def _error(message: str, code: str | None) -> dict[str, Any]:
    return {"error": {"message": message, "type": "stub_error", "code": code}}


async def let_go(connections: set[HttpConnection]) -> None:
    """Close these and wait until their sockets are closed. One that is being accepted takes a few turns of the loop."""
    for _ in range(_TURNS_OF_AN_ACCEPT):
        await asyncio.sleep(0)
    while connections:
        for connection in tuple(connections):
            connection.close()
        await asyncio.sleep(0)


@asynccontextmanager
async def serving(stub: StubModel, port: int = 0) -> AsyncIterator[str]:
    """Serve the stub on the loopback interface; gives the base URL, as a topology's instance has it."""
    loop = asyncio.get_running_loop()
    connections: set[HttpConnection] = set()
    server = await loop.create_server(lambda: HttpConnection(stub.handle, connections), "127.0.0.1", port)
    try:
        yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/v1"
    finally:
        server.close()
        await let_go(connections)
        await server.wait_closed()


async def _serve(stub: StubModel, port: int) -> None:
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    async with serving(stub, port) as url:
        structlog.get_logger().info("stub model is listening", url=url)
        await stop.wait()


def main(arguments: Sequence[str] | None = None) -> None:
    """Serve until SIGTERM or SIGINT."""
    parser = argparse.ArgumentParser(
        prog="python -m workers.local.stub_model", description=__doc__.split("\n")[0]
    )
    parser.add_argument("--port", type=int, required=True, help="0 takes a free one")
    parser.add_argument("--seed", type=int, help="makes the faults repeatable")
    parser.add_argument("--echo", action="store_true", help="answer with the last message")
    for name, field in Faults.model_fields.items():
        parser.add_argument(f"--{name.replace('_', '-')}", help=field.description)
    given = vars(parser.parse_args(arguments))
    try:
        faults = Faults.model_validate(
            {name: given[name] for name in Faults.model_fields if given[name] is not None}
        )
    except ValidationError as error:
        parser.error(str(error))
    uvloop.run(_serve(StubModel(faults, seed=given["seed"], echo=given["echo"]), given["port"]))


if __name__ == "__main__":
    main()
