"""Services behind a fleet, one for each protocol: they answer, fail and misbehave as told, and note what they were asked."""

import asyncio
import json
import socket
import ssl
import threading
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager, suppress
from dataclasses import dataclass, field
from typing import Any, Literal

import grpc
import websockets
from aiohttp import web
from confluent_kafka import Consumer, Message, Producer
from confluent_kafka import TopicPartition as Place
from confluent_kafka.admin import AdminClient
from grpc import aio
from websockets.asyncio.server import ServerConnection, serve

from schemas import relayfleet_pb2 as wire
from schemas.errors import ErrorClass
from schemas.relayfleet_pb2_grpc import MessageRouterServicer, add_MessageRouterServicer_to_server
from tests.support import unique

TEXT = "an answer from behind"
HUGE = "x" * (11 * 1024 * 1024)

STATUSES = {
    ErrorClass.RATE_LIMITED: 429,
    ErrorClass.OVERLOADED: 503,
    ErrorClass.TIMEOUT: 408,
    ErrorClass.UPSTREAM_5XX: 500,
    ErrorClass.UPSTREAM_4XX: 400,
    ErrorClass.AUTH: 403,
    ErrorClass.CONTENT_FILTER: 451,
    ErrorClass.CONTEXT_LENGTH: 413,
}
CODES = {
    ErrorClass.RATE_LIMITED: grpc.StatusCode.RESOURCE_EXHAUSTED,
    ErrorClass.TIMEOUT: grpc.StatusCode.DEADLINE_EXCEEDED,
    ErrorClass.UPSTREAM_5XX: grpc.StatusCode.INTERNAL,
    ErrorClass.UPSTREAM_4XX: grpc.StatusCode.INVALID_ARGUMENT,
    ErrorClass.AUTH: grpc.StatusCode.UNAUTHENTICATED,
}


@dataclass
class Back:
    """How a service behaves, and what it saw. `fail` names the class of an error; what it says quotes the prompt.

    A WebSocket alone can be `late`.
    """

    do: Literal["answer", "hang", "break", "garbage", "huge", "fail", "redirect", "close", "late"] = "answer"
    fail: ErrorClass = ErrorClass.OVERLOADED
    close_code: int = 1013
    seen: list[Any] = field(default_factory=list)  # what was asked
    headers: list[dict[str, str]] = field(default_factory=list)
    connections: int = 0
    cancelled: int = 0
    late: list[Any] = field(default_factory=list)  # answers that come right before the next one

    def misbehave(self, how: Any) -> None:
        """Do this from now on."""
        self.do = how


def _pieces() -> list[str]:
    words = TEXT.split(" ")
    return [words[0], *(f" {word}" for word in words[1:])]


@asynccontextmanager
async def port_of_nobody() -> AsyncIterator[int]:
    """A port of this machine that refuses every connection, and that nobody else can take meanwhile."""
    with socket.socket() as held:
        held.bind(("127.0.0.1", 0))
        port: int = held.getsockname()[1]
        yield port


# -- HTTP ------------------------------------------------------------------------------------------------------------


@asynccontextmanager
async def http_service(back: Back) -> AsyncIterator[str]:
    """Gives its base URL. Answers `{"answer": {"text": …}}`, or events where the body says `"stream": true`."""

    async def handle(request: web.Request) -> web.StreamResponse:
        body = await request.json() if request.can_read_body else {}
        back.seen.append({"method": request.method, "path": request.path_qs, "body": body})
        back.headers.append({name.lower(): value for name, value in request.headers.items()})
        if back.do in ("hang", "break"):
            return await _stall(back, request)
        if back.do == "redirect" and request.path != "/elsewhere":
            raise web.HTTPTemporaryRedirect(f"http://{request.host}/elsewhere")
        if back.do == "fail":
            told = {"error": {"message": json.dumps(body), "code": "E1"}}
            return web.json_response(told, status=STATUSES[back.fail], headers={"retry-after": "7"})
        if isinstance(body, dict) and body.get("stream") is True:
            return await _events(request)
        return web.json_response(_answer(back)) if back.do != "garbage" else web.Response(body=b'{"answer"')

    app = web.Application(client_max_size=64 * 1024**2)
    app.router.add_route("*", "/{anything:.*}", handle)
    runner = web.AppRunner(app, shutdown_timeout=0, handler_cancellation=True)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    try:
        yield f"http://127.0.0.1:{runner.addresses[0][1]}"
    finally:
        await runner.cleanup()


def _answer(back: Back) -> dict[str, Any]:
    text = HUGE if back.do == "huge" else TEXT
    return {"answer": {"text": text, "model": "behind-1"}, "used": {"in": 3, "out": 4}}


async def _stall(back: Back, request: web.Request) -> web.Response:
    if back.do == "break":
        assert request.transport is not None
        request.transport.abort()
        return web.Response()
    try:
        await asyncio.Event().wait()
    finally:
        back.cancelled += 1
    raise AssertionError


async def _events(request: web.Request) -> web.StreamResponse:
    response = web.StreamResponse(headers={"content-type": "text/event-stream"})
    await response.prepare(request)
    for piece in _pieces():
        await response.write(f"data: {json.dumps({'delta': piece})}\n\n".encode())
    await response.write(f"data: {json.dumps({'done': True, 'used': {'in': 3, 'out': 4}})}\n\n".encode())
    return response


# -- WebSocket -------------------------------------------------------------------------------------------------------


@asynccontextmanager
async def websocket_service(back: Back, tls: ssl.SSLContext | None = None) -> AsyncIterator[str]:
    """Gives its URL. Answers `{"id": …, "text": …}` each in a task of its own, in pieces where `"stream": true`."""

    async def converse(connection: ServerConnection) -> None:
        back.connections += 1
        assert connection.request is not None
        back.headers.append({name.lower(): value for name, value in connection.request.headers.raw_items()})
        tasks = set()
        with suppress(websockets.ConnectionClosed):
            async for message in connection:
                task = asyncio.create_task(_converse_once(back, connection, json.loads(message)))
                tasks.add(task)
                task.add_done_callback(tasks.discard)

    async def refuse(connection: ServerConnection, request: Any) -> Any:
        if back.do != "redirect" or request.path == "/elsewhere":
            return None
        response = connection.respond(307, "")
        response.headers["Location"] = "/elsewhere"
        return response

    async with serve(converse, "127.0.0.1", 0, max_size=None, process_request=refuse, ssl=tls) as server:
        yield f"{'ws' if tls is None else 'wss'}://127.0.0.1:{next(iter(server.sockets)).getsockname()[1]}/ws"


async def _converse_once(back: Back, connection: ServerConnection, asked: dict[str, Any]) -> None:
    back.seen.append(asked)
    number = asked["id"]
    messages: dict[str, list[Any]] = {
        "hang": [],
        "huge": [{"id": number, "text": HUGE}],
        "fail": [{"id": number, "error": back.fail, "message": str(asked)}],
        "answer": [{"id": number, "text": TEXT}],
        "redirect": [{"id": number, "text": TEXT}],
    }
    if back.do == "break":
        connection.transport.abort()
    elif back.do == "close":
        await connection.close(back.close_code)
    elif back.do == "garbage":
        await connection.send("{not json")
    elif back.do == "answer" and asked.get("stream") is True:
        messages["answer"] = [
            *({"id": number, "delta": piece} for piece in _pieces()),
            {"id": number, "done": True},
        ]
    elif back.do == "late":
        back.late.append({"id": number, "text": "too late"})
    for message in (*back.late, *messages[back.do]) if back.do in messages else ():
        await connection.send(json.dumps(message))


# -- gRPC ------------------------------------------------------------------------------------------------------------


class _Router(MessageRouterServicer):
    def __init__(self, back: Back) -> None:
        self._back = back

    async def ForwardRequest(  # noqa: N802 - the interface's own name
        self, request: wire.RequestMessage, context: "aio.ServicerContext[Any, Any]"
    ) -> wire.ResponseMessage:
        await self._note(request, context)
        text = HUGE if self._back.do == "huge" else TEXT
        return wire.ResponseMessage(status="ok", payload=wire.Payload(text=text, model="behind-1"))

    async def ForwardStream(  # noqa: N802 - the interface's own name
        self, request: wire.RequestMessage, context: "aio.ServicerContext[Any, Any]"
    ) -> AsyncIterator[wire.ResponseChunk]:
        await self._note(request, context)
        for index, piece in enumerate(_pieces()):
            yield wire.ResponseChunk(index=index, text=piece)
        whole = wire.ResponseMessage(status="ok", payload=wire.Payload(text=TEXT))
        yield wire.ResponseChunk(response=whole)

    async def _note(self, request: wire.RequestMessage, context: "aio.ServicerContext[Any, Any]") -> None:
        back = self._back
        back.seen.append(request)
        metadata: Any = context.invocation_metadata()
        back.headers.append({name: value for name, value in metadata or () if isinstance(value, str)})
        if back.do == "hang":
            try:
                await asyncio.Event().wait()
            finally:
                back.cancelled += 1
        if back.do == "fail":
            code = CODES.get(back.fail, grpc.StatusCode.FAILED_PRECONDITION)
            named = (("relay-error-class", back.fail.value),) if back.fail not in CODES else ()
            await context.abort(code, request.input_text, (*named, ("retry-after", "7")))


@asynccontextmanager
async def grpc_service(back: Back) -> AsyncIterator[tuple[str, aio.Server]]:
    """Gives its address and the server."""
    server = aio.server(options=[("grpc.max_send_message_length", -1)])
    add_MessageRouterServicer_to_server(_Router(back), server)
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    try:
        yield f"grpc://127.0.0.1:{port}", server
    finally:
        await server.stop(None)


# -- Kafka -----------------------------------------------------------------------------------------------------------


def led(bootstrap: str, topic: str, partitions: int = 2) -> bool:
    """Whether every partition of a new topic can be read and written."""
    known = (
        AdminClient({"bootstrap.servers": bootstrap}).list_topics(topic, timeout=10).topics[topic].partitions
    )
    return len(known) == partitions and all(one.leader >= 0 for one in known.values())


@contextmanager
def kafka_service(back: Back, bootstrap: str, requests: str, responses: str) -> Iterator[None]:
    """Answers what comes on `requests`, from its end on, with the correlation header given back."""
    consumer = Consumer(
        {"bootstrap.servers": bootstrap, "group.id": unique("back"), "enable.auto.commit": False}
    )
    numbers = consumer.list_topics(requests, timeout=10).topics[requests].partitions
    places = [Place(requests, number) for number in numbers]
    ends = [consumer.get_watermark_offsets(place, timeout=10)[1] for place in places]
    consumer.assign([Place(requests, number, end) for number, end in zip(numbers, ends, strict=True)])
    producer = Producer({"bootstrap.servers": bootstrap, "linger.ms": 1})
    stop = threading.Event()

    def work() -> None:
        while not stop.is_set():
            message = consumer.poll(0.05)
            if message is not None and message.error() is None:
                _reply(back, producer, message, responses)
            producer.poll(0)
        producer.flush(5)
        consumer.close()

    thread = threading.Thread(target=work)
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join()


def _reply(back: Back, producer: Producer, message: Message, responses: str) -> None:
    asked = json.loads(message.value() or b"{}")
    back.seen.append(asked)
    given: list[tuple[str, bytes]] = list(message.headers() or ())  # type: ignore[arg-type] # typed for dictionaries too
    headers: list[tuple[str, str | bytes | None]] = [one for one in given if one[0] == "correlation-id"]
    answer: dict[str, Any] = {"status": "ok", "payload": {"text": TEXT, "model": "behind-1"}}
    if back.do == "hang":
        return
    if back.do == "fail":
        answer = {"status": "error", "payload": {"error": {"code": back.fail, "reason": str(asked)}}}
    value = b"{not json" if back.do == "garbage" else json.dumps(answer).encode()
    producer.produce(responses, value, headers=headers)
