"""The ways into a running fleet, each by a real client of its protocol: asked the same, they tell the same."""

import asyncio
import json
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any, Protocol

import httpx
import openai
import orjson
from confluent_kafka import Consumer, Producer, TopicPartition
from grpc import aio
from websockets.asyncio.client import ClientConnection, connect

from schemas import headers as h
from schemas import relayfleet_pb2 as wire
from schemas.relayfleet_pb2_grpc import MessageRouterStub
from tests.fleet import Fleet
from tests.gateways import RunningGateway
from tests.support import eventually, reading, unique
from workers.core.clock import SystemClock

SECONDS = 60.0
_OPENAI_CODES = {"context_length_exceeded": "context_length", "rate_limit_exceeded": "rate_limited"}


@dataclass(frozen=True)
class Told:
    """What a client got: a text, and the pieces it came in; or the class of an error."""

    text: str | None = None
    error: str | None = None
    pieces: list[str] = field(default_factory=list)


class Client(Protocol):
    """One way in."""

    async def ask(self, target: str, text: str, *, stream: bool = False) -> Told:
        """Ask `target` once."""


class Rest:
    """`POST /api/forward` with httpx."""

    def __init__(self, client: httpx.AsyncClient) -> None:
        self._client = client

    async def ask(self, target: str, text: str, *, stream: bool = False) -> Told:
        """See `Client`."""
        body, query = {"text": text, "context": {}}, {"target": target}
        if not stream:
            return self._told((await self._client.post("/api/forward", params=query, json=body)).json())
        pieces, last = [], {}
        async with self._client.stream(
            "POST", "/api/forward", params={**query, "stream": "true"}, json=body
        ) as got:
            kind = ""
            async for line in got.aiter_lines():
                if line.startswith("event: "):
                    kind = line.removeprefix("event: ")
                elif line.startswith("data: "):
                    last = json.loads(line.removeprefix("data: "))
                    pieces += [last["text"]] if kind == "chunk" and last.get("text") else []
        return self._told(last, pieces)

    def _told(self, body: dict[str, Any], pieces: list[str] | None = None) -> Told:
        if "payload" in body:
            return Told(body["payload"]["text"], pieces=pieces or [])
        return Told(error=body["code"], pieces=pieces or [])


class OpenAI:
    """The official `openai` client."""

    def __init__(self, client: openai.AsyncOpenAI) -> None:
        self._client = client

    async def ask(self, target: str, text: str, *, stream: bool = False) -> Told:
        """See `Client`."""
        messages: Any = [{"role": "user", "content": text}]
        pieces: list[str] = []
        try:
            if stream:
                async for chunk in await self._client.chat.completions.create(
                    model=target, messages=messages, stream=True
                ):
                    pieces += [choice.delta.content for choice in chunk.choices if choice.delta.content]
                return Told("".join(pieces), pieces=pieces)
            answer = await self._client.chat.completions.create(model=target, messages=messages)
            return Told(answer.choices[0].message.content)
        except openai.APIError as error:
            return Told(error=_OPENAI_CODES.get(str(error.code), str(error.code)), pieces=pieces)


class WebSocket:
    """The `websockets` client: one connection for all that is asked."""

    def __init__(self, connection: ClientConnection) -> None:
        self._connection = connection
        self._frames: dict[str, asyncio.Queue[dict[str, Any]]] = {}

    async def ask(self, target: str, text: str, *, stream: bool = False) -> Told:
        """See `Client`."""
        name = unique("q")
        frames = self._frames[name] = asyncio.Queue()
        asked = {"type": "ask", "id": name, "text": text, "target": target, "stream": stream}
        await self._connection.send(json.dumps(asked))
        pieces = []
        while True:
            frame = await frames.get()
            if frame["type"] == "chunk":
                pieces += [frame["text"]] if frame["text"] else []
            elif frame["type"] == "answer":
                return Told(frame["response"]["payload"]["text"], pieces=pieces)
            elif frame["type"] == "error":
                return Told(error=frame["error"]["code"], pieces=pieces)

    async def read(self) -> None:
        """Give each frame to who asked."""
        async for message in self._connection:
            frame = json.loads(message)
            if frame.get("id") in self._frames:
                self._frames[frame["id"]].put_nowait(frame)


class Grpc:
    """grpcio."""

    def __init__(self, channel: aio.Channel) -> None:
        self._stub: Any = MessageRouterStub(channel)

    async def ask(self, target: str, text: str, *, stream: bool = False) -> Told:
        """See `Client`."""
        request, sent = wire.RequestMessage(input_text=text), (("x-relay-target", target),)
        pieces: list[str] = []
        try:
            if not stream:
                answer = await self._stub.ForwardRequest(request, metadata=sent, timeout=SECONDS)
                return Told(answer.payload.text)
            whole = None
            async for chunk in self._stub.ForwardStream(request, metadata=sent, timeout=SECONDS):
                pieces += [chunk.text] if chunk.text else []
                whole = chunk.response.payload.text
            return Told(whole, pieces=pieces)
        except aio.AioRpcError as error:
            trailing: Any = error.trailing_metadata() or ()
            return Told(error=dict(trailing).get("relay-error-class", error.code().name), pieces=pieces)

    async def ask_many(self, asked: Sequence[tuple[str, str]]) -> list[Told]:
        """Ask each target its text, all in one message; what is told comes in the order of the questions."""
        call = self._stub.ConverseMany(timeout=SECONDS)
        requests = [
            wire.ConverseRequest(id=str(number), request=wire.RequestMessage(input_text=text), target=target)
            for number, (target, text) in enumerate(asked)
        ]
        await call.write(wire.ConverseRequests(requests=requests))
        await call.done_writing()
        told = {reply.id: reply.response async for replies in call for reply in replies.replies}
        assert len(told) == len(asked)
        payloads = [(told[request.id].status, told[request.id].payload) for request in requests]
        return [
            Told(each.text) if status == "ok" else Told(error=each.error.code) for status, each in payloads
        ]


class Kafka:
    """A plain Kafka client, which produces envelopes and reads the answers."""

    def __init__(self, fleet: Fleet) -> None:
        self._fleet = fleet
        self._producer = Producer({"bootstrap.servers": fleet.bootstrap, "linger.ms": 1})
        self._consumer = reading(fleet.bootstrap, fleet.names["responses"], fleet.names["chunks"])
        # A client of its own: behind a fetch that waits for records, each of its questions would wait as well.
        self._ends = Consumer({"bootstrap.servers": fleet.bootstrap, "group.id": unique("ends")})
        self._responses: dict[str, dict[str, Any]] = {}
        self._chunks: dict[str, list[dict[str, Any]]] = {}

    async def ask(self, target: str, text: str, *, stream: bool = False) -> Told:
        """See `Client`."""
        name = unique("k")
        payload = {"text": text, "stream": stream}
        envelope = {
            "message_id": name,
            "source": "kcat",
            "payload": payload,
            "timestamp": SystemClock().wall(),
        }
        headers: list[tuple[str, str | bytes | None]] = [(h.TARGET, target)]
        self._producer.produce(self._fleet.names["requests"], orjson.dumps(envelope), name, headers=headers)
        self._producer.poll(0)
        await eventually(lambda: self._look() and name in self._responses, SECONDS)
        if stream:
            # Its pieces were there before the response was, but on another topic: they may be read after it.
            ends = self._ends_of_chunks()
            await eventually(lambda: self._look() and self._read_to(ends), SECONDS)
        answer = self._responses[name]["payload"]
        pieces = [chunk["text"] for chunk in self._chunks.get(name, ()) if chunk["text"]]
        error = answer["error"]["code"] if "error" in answer else None
        return Told(answer.get("text"), error, pieces)

    def close(self) -> None:
        """Let go."""
        self._producer.flush(5)
        self._consumer.close()
        self._ends.close()

    def _ends_of_chunks(self) -> list[TopicPartition]:
        topic = self._fleet.names["chunks"]
        places = [place for place in self._consumer.assignment() if place.topic == topic]
        ends = [self._ends.get_watermark_offsets(place, timeout=SECONDS)[1] for place in places]
        return [TopicPartition(topic, place.partition, end) for place, end in zip(places, ends, strict=True)]

    def _read_to(self, ends: list[TopicPartition]) -> bool:
        places = self._consumer.position([TopicPartition(end.topic, end.partition) for end in ends])
        return all(place.offset >= end.offset for place, end in zip(places, ends, strict=True) if end.offset)

    def _look(self) -> bool:
        for message in self._consumer.consume(500, 0):
            if message.error() is None:
                body = orjson.loads(message.value() or b"{}")
                if message.topic() == self._fleet.names["responses"]:
                    self._responses[body["message_id"]] = body
                else:
                    self._chunks.setdefault(body["message_id"], []).append(body)
        return True


@asynccontextmanager
async def clients(fleet: Fleet, gateway: RunningGateway) -> AsyncIterator[dict[str, Client]]:
    """One of each, at one gateway and its fleet."""
    address = str(gateway.client.base_url).removeprefix("http://").rstrip("/")
    plain = Kafka(fleet)
    async with (
        openai.AsyncOpenAI(base_url=f"http://{address}/v1", api_key="none", max_retries=0) as official,
        connect(f"ws://{address}/ws", proxy=None) as connection,
        aio.insecure_channel(gateway.grpc, options=[("grpc.enable_http_proxy", 0)]) as channel,
    ):
        socket = WebSocket(connection)
        frames = asyncio.create_task(socket.read())
        try:
            yield {
                "rest": Rest(gateway.client),
                "openai": OpenAI(official),
                "websocket": socket,
                "grpc": Grpc(channel),
                "kafka": plain,
            }
        finally:
            frames.cancel()
            await asyncio.gather(frames, return_exceptions=True)
            plain.close()
